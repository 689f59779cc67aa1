package segment

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are those of all chains of a process.
type Metrics struct {
	count         atomic.Uint64 // creates through this value
	bytes         atomic.Uint64 // and their bytes
	creates       prometheus.Counter
	createErrors  prometheus.Counter
	createSeconds prometheus.Histogram
	createBytes   prometheus.Counter
	buffered      prometheus.Gauge
	cuts          prometheus.Counter
	cutErrors     prometheus.Counter
	merges        prometheus.Counter
	mergeErrors   prometheus.Counter
	feeds         prometheus.Gauge
	slowFeeds     prometheus.Counter
}

// NewMetrics registers them, or takes those that were registered there
// before, as by a node that was closed and opened again; r may be nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{}
	counter := func(name, help string) prometheus.Counter {
		return register(r, prometheus.NewCounter(prometheus.CounterOpts{Name: "wpd_segment_" + name, Help: help}))
	}
	m.creates = counter("creates_total", "Objects created by chains; each costs a request. A rise without more bytes means emptier fragments: see flush_interval.")
	m.createErrors = counter("create_errors_total", "Creates that did not put our object in place: a chain was sealed, or closed. A rise while the node runs means that somebody else seals its chains.")
	m.createBytes = counter("create_bytes_total", "Bytes of objects created by chains. By creates, it is how full fragments are.")
	m.createSeconds = register(r, prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "wpd_segment_create_seconds", Help: "Time until an object was durable; a rise is a slow store.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
	}))
	m.buffered = register(r, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "wpd_segment_buffered_bytes", Help: "Bytes taken but not durable; at its limit, appenders wait.",
	}))
	m.cuts = counter("cuts_total", "Segments cut; each costs a request. A rise means more bytes, or that segments are cut too early.")
	m.cutErrors = counter("cut_errors_total", "Cuts that did not succeed and will be tried again. A rise makes the next start after a crash longer.")
	m.merges = counter("merges_total", "Times that one cut took the place of several, so that the metadata stay small. It follows cuts_total, at about a fifteenth.")
	m.mergeErrors = counter("merge_errors_total", "Merges of cuts that did not succeed; the next cut tries again. A rise without merges makes the metadata grow.")
	m.feeds = register(r, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "wpd_segment_feeds", Help: "Feeds by which other nodes follow the chains of this one. More than one for each other node and chain means that their connections break.",
	}))
	m.slowFeeds = counter("slow_feeds_total", "Feeds that ended because the other node was too slow; it begins again. A rise means a network, or a node, that does not keep up.")
	return m
}

// register returns c, or the collector that is registered in its place.
func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	if r == nil {
		return c
	}
	if err := r.Register(c); err != nil {
		if e, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
			if have, ok := e.ExistingCollector.(C); ok {
				return have
			}
		}
		panic(err) // two metrics of one name and different shape: a bug
	}
	return c
}

// opened counts an object 0.
func (m *Metrics) opened() {
	m.count.Add(1)
	m.creates.Inc()
}

func (m *Metrics) created(size int, took time.Duration, err error) {
	if err != nil {
		m.createErrors.Inc()
		return
	}
	m.count.Add(1)
	m.bytes.Add(uint64(size))
	m.creates.Inc()
	m.createBytes.Add(float64(size))
	m.createSeconds.Observe(took.Seconds())
}

// Creates is how many objects were created through this value so far.
func (m *Metrics) Creates() uint64 { return m.count.Load() }

// CreatedBytes is how many bytes those had.
func (m *Metrics) CreatedBytes() uint64 { return m.bytes.Load() }
