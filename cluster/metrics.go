package cluster

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// metrics of a member. The collectors live as long as the member.
type metrics struct {
	commits        *prometheus.CounterVec
	proposals      *prometheus.CounterVec
	proposeSeconds prometheus.Histogram
	snapshotBytes  prometheus.Gauge
	failed         prometheus.Gauge
	refused        prometheus.Counter
	abdications    prometheus.Counter
	free           prometheus.Gauge
	short          prometheus.Gauge
	leads          prometheus.Gauge
	members        prometheus.Gauge
	membersWell    prometheus.Gauge
	tolerance      prometheus.Gauge
	lease          *leaseMetrics

	registered []prometheus.Collector
}

func newMetrics() *metrics {
	return &metrics{
		commits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wpd_cluster_commits_total",
			Help: "Commands of the raft log that were applied here, by kind, what a start catches up with included. They grow with chains, cuts and moves of logs, never with appends: beside wpd_wal_appended_batches_total they tell whether metadata is on the write path.",
		}, []string{"command"}),
		proposals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wpd_cluster_proposals_total",
			Help: "Metadata commands proposed, by outcome. They grow with chains and moves of logs, never with appends; refused ones rising means that callers decide on old metadata, uncertain ones that leadership is lost.",
		}, []string{"outcome"}),
		proposeSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "wpd_cluster_propose_seconds",
			Help:    "Time from a proposal until it was applied. A rise means slow disks or a slow network between voters, or no leader.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		snapshotBytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wpd_cluster_snapshot_bytes",
			Help: "Size of the last metadata snapshot. A rise means more logs, chains, extents or cuts.",
		}),
		failed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wpd_cluster_failed",
			Help: "1 once this member can't go on and the node must be stopped.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wpd_cluster_raft_connections_refused_total",
			Help: "Connections to raft's address that were not those of a member. A rise means a node of another cluster, one that was removed, or a stranger.",
		}),
		abdications: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wpd_cluster_abdications_total",
			Help: "Times that this leader gave leadership up because its disk or its state stood still, or its disk was nearly full. A rise means a disk that is about to fail.",
		}),
		free: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wpd_cluster_disk_free_bytes",
			Help: "Bytes free on the disk of the data directory. Below min_free the node takes no writes.",
		}),
		short: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wpd_cluster_disk_short",
			Help: "1 while the disk of the data directory is nearly full and the node takes no writes for that. It is an alarm: make room.",
		}),
		leads: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wpd_cluster_leads",
			Help: "1 while this member leads. What it says of the members counts only then.",
		}),
		members: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wpd_cluster_members",
			Help: "Members of the raft group, as the leader sees it.",
		}),
		membersWell: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wpd_cluster_members_well",
			Help: "Members that the leader has just heard of and that keep up. Less than all for long means that a node is to be repaired or removed.",
		}),
		tolerance: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wpd_cluster_failure_tolerance",
			Help: "How many voters may still fail before the group can decide nothing. 0 means that the next failure stops it.",
		}),
		lease: newLeaseMetrics(),
	}
}

// register registers everything, gauges of the state included.
func (m *metrics) register(r prometheus.Registerer, state *machine) error {
	if r == nil {
		return nil
	}
	gauge := func(name, help string, value func(*fsm.State) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() (v float64) {
			state.view(func(s *fsm.State) { v = value(s) })
			return v
		})
	}
	for _, c := range append(m.lease.collectors(),
		m.commits, m.proposals, m.proposeSeconds, m.snapshotBytes, m.failed,
		m.refused, m.abdications, m.free, m.short, m.leads, m.members, m.membersWell, m.tolerance,
		gauge("wpd_cluster_applied_index", "Raft index of the last command applied here. A rise that follows appends means that metadata is on the write path.",
			func(s *fsm.State) float64 { return float64(s.AppliedIndex()) }),
		gauge("wpd_cluster_logs", "Logs in the metadata. A rise that does not end means that somebody makes a log for each of something.",
			func(s *fsm.State) float64 { return float64(s.LogCount()) }),
		gauge("wpd_cluster_chains", "Chains in the metadata, sealed ones included. A fast rise means restarts or lost leases.",
			func(s *fsm.State) float64 { return float64(s.ChainCount()) }),
	) {
		if err := r.Register(c); err != nil {
			m.unregister(r)
			return err
		}
		m.registered = append(m.registered, c)
	}
	return nil
}

func (m *metrics) unregister(r prometheus.Registerer) {
	for _, c := range m.registered {
		r.Unregister(c)
	}
	m.registered = nil
}

func (m *metrics) proposed(begin time.Time, err error) {
	m.proposals.WithLabelValues(outcome(err)).Inc()
	m.proposeSeconds.Observe(time.Since(begin).Seconds())
}

// committed counts a command that was applied.
func (m *metrics) committed(c *fsmpb.Command) {
	r := c.ProtoReflect()
	if kind := r.WhichOneof(r.Descriptor().Oneofs().ByName("command")); kind != nil {
		m.commits.WithLabelValues(string(kind.Name())).Inc()
	}
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "applied"
	case errors.Is(err, ErrUncertain):
		return "uncertain"
	case errors.Is(err, ErrNotLeader), errors.Is(err, ErrClosed), errors.Is(err, ErrBusy), errors.Is(err, ErrFailed),
		errors.Is(err, ErrUnreachable), errors.Is(err, ErrRefused):
		return "not_done"
	}
	return "refused"
}
