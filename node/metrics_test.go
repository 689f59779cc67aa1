package node_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/wal/api"
)

type onlyRegisterer struct{ prometheus.Registerer }

// busy makes logs with writers, readers, refusals and calls of all kinds.
func busy(t *testing.T, p *testcluster.Proc, name string, logs int) {
	t.Helper()
	c, err := wpd.Dial(t.Context(), p.Node.Addr().String())
	require.NoError(t, err)
	defer c.Close() //nolint:errcheck // nothing is in flight
	for i := range logs {
		log, err := c.Create(t.Context(), fmt.Sprint(name, i), wpd.LogConfig{})
		require.NoError(t, err)
		w, err := log.Writer(t.Context(), wpd.ProducerID(fmt.Sprint("p", i)))
		require.NoError(t, err)
		_, err = w.Append(t.Context(), []byte("x"))
		require.NoError(t, err)
		_, err = w.Append(t.Context(), []byte("x"), wpd.IfTail(100))
		require.Error(t, err)
		for _, err := range log.Read(t.Context(), wpd.Earliest) {
			require.NoError(t, err)
		}
		_, err = c.Log(t.Context(), fmt.Sprint("no/", name, i))
		require.ErrorIs(t, err, wpd.ErrNotFound)
		_, err = p.Node.ReadObject(t.Context(), fmt.Sprint("no/", name, i))
		require.ErrorIs(t, err, api.ErrNotFound)
	}
}

// TestMetrics: what a working node exports is what Prometheus' own linter
// likes, is named after its room, says what a rise means, and does not grow
// with logs, producers or clients.
func TestMetrics(t *testing.T) {
	w, _ := serving(t)
	w.Config.AllowBench = true
	r := prometheus.NewRegistry()
	w.Config.Registerer = r
	w.Options.Registerer = r
	p := start(t, w)
	busy(t, p, "a/", 3)
	m, err := p.Node.MeasureRaw(t.Context())
	require.NoError(t, err)
	_, err = m.Measure(t.Context(), &adminv1.MeasureRawRequest{ObjectBytes: 10, Concurrency: 1, Objects: 1})
	require.NoError(t, err)
	m.End()
	series := func() (n int, names map[string]bool) {
		families, err := r.Gather()
		require.NoError(t, err)
		names = make(map[string]bool)
		for _, f := range families {
			names[f.GetName()] = true
			n += len(f.GetMetric())
		}
		problems, err := promlint.NewWithMetricFamilies(families).Lint()
		require.NoError(t, err)
		require.Empty(t, problems)
		for _, f := range families {
			require.Regexp(t, `^wpd_(wal|segment|blobstore|cluster|node|rpc)_[a-z_]+$`, f.GetName())
			require.Regexp(t, `\.$`, f.GetHelp(), f.GetName())
			require.Greater(t, len(f.GetHelp()), 10, f.GetName())
		}
		return n, names
	}
	before, names := series()
	for _, name := range strings.Fields(`wpd_wal_ack_seconds wpd_wal_appended_entries_total wpd_wal_refused_batches_total
		wpd_wal_cache_hits_total wpd_wal_attached_logs wpd_wal_producers wpd_segment_creates_total wpd_blobstore_requests_total
		wpd_cluster_logs wpd_node_info wpd_node_ready wpd_node_draining wpd_node_start_time_seconds`) {
		require.True(t, names[name], name)
	}
	busy(t, p, "b/", 30)
	after, _ := series()
	// One of a kind of command or request may be the first of its kind, but none
	// is of a log or a client.
	require.Less(t, after, before+10, "the number of series grows with what clients do")

	families, err := r.Gather()
	require.NoError(t, err)
	value := func(name string) (v float64) {
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == name {
					v += m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
		return v
	}
	s := p.Node.Stats()
	require.EqualValues(t, 33, s.GetAppendedEntries())
	require.EqualValues(t, 33, value("wpd_wal_appended_entries_total"))
	require.EqualValues(t, 33, value("wpd_wal_appended_batches_total"))
	require.EqualValues(t, s.GetAppendedBytes(), value("wpd_wal_appended_bytes_total"))
	require.EqualValues(t, 33, value("wpd_wal_refused_batches_total"), "the wrong tail")
	require.EqualValues(t, 33, value("wpd_wal_read_batches_total"))
	require.EqualValues(t, s.GetReadBytes(), value("wpd_wal_read_bytes_total"))
	require.EqualValues(t, 33, value("wpd_wal_attached_logs"))
	require.EqualValues(t, 33, value("wpd_wal_producers"))
	require.EqualValues(t, 33, value("wpd_cluster_logs"))
	require.EqualValues(t, s.GetCreates(), value("wpd_segment_creates_total"))
	require.EqualValues(t, s.GetCreatedBytes(), value("wpd_segment_create_bytes_total"))
	require.Zero(t, value("wpd_wal_in_flight_bytes"))
	require.Zero(t, value("wpd_wal_waiting_appends"))
	require.Zero(t, value("wpd_wal_repeated_batches_total"))
	stop(t, p)

	// A node that is opened again in the same process goes on.
	p = start(t, w)
	busy(t, p, "c/", 3)
	_, again := series()
	require.Equal(t, names, again)
	stop(t, p)
}

// TestRepeated: what a producer sends again is acknowledged, and counted once.
func TestRepeated(t *testing.T) {
	w, _ := serving(t)
	p := start(t, w)
	s := newSender(t, p.Node, "a")
	n := s.send(t)
	require.NoError(t, s.next(t).err)
	s.seq--
	s.send(t)
	require.NoError(t, s.next(t).err)
	stats := p.Node.Stats()
	require.EqualValues(t, 1, stats.GetAppendedBatches())
	require.EqualValues(t, n, stats.GetAppendedBytes())
	require.Positive(t, stats.GetAckP50Micros())
	require.LessOrEqual(t, stats.GetAckP50Micros(), stats.GetAckMaxMicros())
	_, metrics := web(t, p.Node, "GET", "/metrics", "")
	require.Contains(t, metrics, "\nwpd_wal_repeated_batches_total 1\n")
	stop(t, p)
}
