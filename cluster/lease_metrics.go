package cluster

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// leaseMetrics are those of leases, both ends, and of what is forwarded.
type leaseMetrics struct {
	held        prometheus.Gauge
	lapses      prometheus.Counter
	skew        prometheus.Gauge
	renewals    *prometheus.CounterVec
	renewSecs   prometheus.Histogram
	served      *prometheus.CounterVec
	takeovers   prometheus.Counter
	sealers     prometheus.Counter
	forwardings *prometheus.CounterVec
}

func newLeaseMetrics() *leaseMetrics {
	return &leaseMetrics{
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wpd_cluster_lease_held",
			Help: "Chains that this node holds the lease of. 0 on a node that writes logs means that it can't reach the leader, or that another node takes them over.",
		}),
		lapses: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wpd_cluster_lease_lapses_total",
			Help: "Leases of this node that lapsed by its own clocks, those that a planned end let lapse included. A rise means pauses of the process, a slow or changing leader, or a clock that jumps.",
		}),
		skew: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wpd_cluster_lease_clock_skew_seconds",
			Help: "How far this node's wall clock is surely ahead of the leader's, less than 0 if behind. Beyond one second the node takes no logs: set its clock.",
		}),
		renewals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wpd_cluster_lease_renewals_total",
			Help: "Renewals that this node sent, by outcome. A rise of any but renewed brings a lapse nearer: refused ones mean that the node was removed or started twice, others that there is no leader or none that answers.",
		}, []string{"outcome"}),
		renewSecs: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "wpd_cluster_lease_renew_seconds",
			Help:    "Time from sending a renewal to its answer. Near the lease's time to live, leases lapse.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		served: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wpd_cluster_lease_answers_total",
			Help: "Renewals that this node answered as the leader, by outcome. Refused ones come from removed nodes and old starts.",
		}, []string{"outcome"}),
		takeovers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wpd_cluster_lease_takeovers_total",
			Help: "Chains that this node, as the leader, gave to another node to seal because their writer's lease lapsed. Each moves logs and costs a seal.",
		}),
		sealers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wpd_cluster_lease_sealers_replaced_total",
			Help: "Times that this node, as the leader, asked another node to seal a chain because the first was gone or slow. A rise means a slow store, or dying nodes.",
		}),
		forwardings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wpd_cluster_forwarded_total",
			Help: "Calls that this node forwarded to the leader, by call and outcome. Proposals grow with chains and moves of logs, never with appends; uncertain ones mean that leaders die or can't be reached.",
		}, []string{"call", "outcome"}),
	}
}

func (m *leaseMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.held, m.lapses, m.skew, m.renewals, m.renewSecs, m.served, m.takeovers, m.sealers, m.forwardings}
}

func (m *leaseMetrics) forwarded(call string, err error) {
	m.forwardings.WithLabelValues(call, peerOutcome(err)).Inc()
}

// peerOutcome names how a call to another member ended.
func peerOutcome(err error) string {
	switch {
	case err == nil:
		return "answered"
	case errors.Is(err, ErrUncertain):
		return "uncertain"
	case errors.Is(err, ErrRefused):
		return "refused"
	case errors.Is(err, ErrNotLeader):
		return "not_leader"
	case errors.Is(err, ErrUnreachable), errors.Is(err, ErrBusy), errors.Is(err, ErrClosed):
		return "not_done"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "timeout"
	}
	return "failed"
}
