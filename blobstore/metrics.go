package blobstore

import (
	"context"
	"errors"
	"io/fs"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gocloud.dev/gcerrors"
)

// op names an operation in metrics and errors.
type op string

const (
	opCreate op = "create"
	opRead   op = "read"
	opList   op = "list"
	opDelete op = "delete"
)

// metrics counts what a bucket does.
type metrics struct {
	requests  *prometheus.CounterVec   // by op, result
	seconds   *prometheus.HistogramVec // by op
	retries   *prometheus.CounterVec   // by op
	conflicts *prometheus.CounterVec   // by whose
	bytes     *prometheus.CounterVec   // by op
	failing   prometheus.Gauge
	hedges    *prometheus.CounterVec // by won
	limit     *prometheus.GaugeVec   // by kind
	waits     *prometheus.CounterVec // by kind
	waited    *prometheus.CounterVec // by kind
}

// newMetrics registers the metrics, or takes those that another bucket has
// registered there.
func newMetrics(reg prometheus.Registerer) *metrics {
	return &metrics{
		requests: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wpd_blobstore_requests_total",
			Help: "Attempts made at the object store, by operation and result. A rise of results other than ok, exists and not_found means that the store is failing; each is retried.",
		}, []string{"op", "result"})),
		seconds: register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "wpd_blobstore_request_seconds",
			Help:    "Time of one attempt at the object store, failed ones included. A rise means a slower store or a slower way to it.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 18), // 250 µs to 33 s
		}, []string{"op"})),
		retries: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wpd_blobstore_retries_total",
			Help: "Attempts that repeated a failed one. A rise means that callers wait for the store longer than one request.",
		}, []string{"op"})),
		conflicts: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wpd_blobstore_conflicts_total",
			Help: "Creates that found an object. own: our own bytes, the reply had been lost; a rise means a flaky way to the store. other: a seal or another writer.",
		}, []string{"whose"})),
		bytes: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wpd_blobstore_bytes_total",
			Help: "Bytes of objects created and read.",
		}, []string{"op"})),
		failing: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wpd_blobstore_creates_failing",
			Help: "Creates whose last attempt failed and that are being tried again. Above zero for long means that nothing is acknowledged: look at the log for the reason.",
		})),
		hedges: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wpd_blobstore_hedges_total",
			Help: "Creates sent a second time because the first was slow, by which of them was stored. Many of second mean that hedging helps; many of neither, that the store has other troubles.",
		}, []string{"won"})),
		limit: register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "wpd_blobstore_in_flight_limit_requests",
			Help: "Requests in flight that the store is thought to take, by kind (writes, reads); 0: it has not throttled for long, there is no limit. A low one means that the store throttles or is slow; without requests it stays as it was.",
		}, []string{"kind"})),
		waits: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wpd_blobstore_limit_waits_total",
			Help: "Requests that waited for the limit of those in flight, by kind. A rise means that the store takes less than is asked of it.",
		}, []string{"kind"})),
		waited: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wpd_blobstore_limit_wait_seconds_total",
			Help: "Time that requests waited for the limit of those in flight, by kind.",
		}, []string{"kind"})),
	}
}

// limiter makes one whose state is seen here.
func (m *metrics) limiter(kind string) *limiter {
	return &limiter{
		gauge: m.limit.WithLabelValues(kind), waits: m.waits.WithLabelValues(kind), seconds: m.waited.WithLabelValues(kind),
	}
}

// register returns c, or the collector that is registered in its place.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	if err := reg.Register(c); err != nil {
		if e, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
			if have, ok := e.ExistingCollector.(C); ok {
				return have
			}
		}
		panic(err) // two metrics of one name and different shape: a bug
	}
	return c
}

// done counts one attempt.
func (m *metrics) done(op op, err error, took time.Duration) {
	m.requests.WithLabelValues(string(op), result(err)).Inc()
	m.seconds.WithLabelValues(string(op)).Observe(took.Seconds())
}

// result names an outcome in metrics.
func result(err error) string {
	code := gcerrors.Code(err)
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, fs.ErrExist):
		return "exists"
	case errors.Is(err, fs.ErrNotExist):
		return "not_found"
	case errors.Is(err, ErrKey):
		return "bad_key"
	case errors.Is(err, ErrShort):
		return "short"
	case throttled(err):
		return "throttled"
	case errors.Is(err, context.DeadlineExceeded) || code == gcerrors.DeadlineExceeded:
		return "timeout"
	case errors.Is(err, context.Canceled) || code == gcerrors.Canceled:
		return "canceled"
	case errors.Is(err, fs.ErrPermission) || code == gcerrors.PermissionDenied || errors.Is(err, syscall.EROFS):
		return "denied"
	case diskFull(err):
		return "full"
	}
	return "error"
}

func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
