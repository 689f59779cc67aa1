package testcluster

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/rpc/client"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

// meters are the metrics of the nodes of a cluster, of their last lives.
type meters []*prometheus.Registry

func newMeters(n int) meters { return make(meters, n) }

// config is for WithConfig.
func (m meters) config(i int, c *node.Config) {
	m[i] = prometheus.NewRegistry()
	c.Registerer = m[i]
}

// sum adds up a metric of a node over all its labels.
func (m meters) sum(t TB, i int, name string) (sum float64) {
	t.Helper()
	for _, x := range m.family(t, i, name) {
		sum += x.GetCounter().GetValue() + x.GetGauge().GetValue()
	}
	return sum
}

func (m meters) family(t TB, i int, name string) []*dto.Metric {
	t.Helper()
	all, err := m[i].Gather()
	if err != nil {
		t.Fatalf("metrics of node %d: %v", i, err)
	}
	for _, f := range all {
		if f.GetName() == name {
			return f.GetMetric()
		}
	}
	return nil
}

// TestCommits: what is committed by raft grows with moves and chains, and not by
// one command with ten thousand appends.
func TestCommits(t *testing.T) {
	const commits, appends, creates = "wpd_cluster_commits_total", "wpd_wal_appended_entries_total", "wpd_segment_creates_total"
	bubble.Test(t, func(t *testing.T) {
		m := newMeters(3)
		c := New(t, 3, WithConfig(func(i int, conf *node.Config) {
			m.config(i, conf)
			conf.Cluster.MovesPerSecond = -1
		}))
		total := func(name string) (sum float64) {
			for i := range m {
				sum += m.sum(t, i, name)
			}
			return sum
		}
		// settled is when every node has applied all there is.
		settled := func() float64 {
			time.Sleep(30 * time.Second)
			for i := range m {
				require.Equal(t, m.sum(t, 0, commits), m.sum(t, i, commits), "node %d", i)
			}
			return m.sum(t, 0, commits)
		}
		var writers []*wpd.Writer
		for i := range 6 {
			log, err := c.Client().Create(t.Context(), fmt.Sprint("log-", i), wpd.LogConfig{})
			require.NoError(t, err)
			w, err := log.Writer(t.Context(), wpd.ProducerID(fmt.Sprint("producer-", i)))
			require.NoError(t, err)
			_, err = w.Append(t.Context(), []byte("first"))
			require.NoError(t, err)
			writers = append(writers, w)
		}
		quiet := settled()
		require.NotZero(t, quiet)
		before, created := total(appends), total(creates)
		for i := range 10000 {
			writers[i%len(writers)].AppendAsync(t.Context(), wpd.Entry{Data: fmt.Appendf(nil, "entry %d", i)})
			if i%100 == 0 {
				require.NoError(t, writers[i%len(writers)].Flush(t.Context()))
			}
		}
		for _, w := range writers {
			require.NoError(t, w.Flush(t.Context()))
		}
		require.EqualValues(t, 10000, total(appends)-before)
		require.Greater(t, total(creates), created)
		require.Equal(t, quiet, settled(), "10,000 appends")

		from := c.Writer("log-0")
		a, err := client.DialAdmin(t.Context(), client.Config{Addrs: []string{c.Node(from).Addr()}, Dialer: c.Net.Host(ClientHost).Dial})
		require.NoError(t, err)
		_, err = a.MoveLog(t.Context(), "log-0", c.Node((from+1)%3).Name)
		require.NoError(t, err)
		require.NoError(t, a.Close())
		moved := settled()
		require.InDelta(t, quiet+2, moved, 1, "a move")
		c.Stop(from)
		c.Start(from)
		c.AwaitReady()
		writersOf := m.family(t, (from+1)%3, commits)
		kinds := make(map[string]float64)
		for _, x := range writersOf {
			kinds[x.GetLabel()[0].GetValue()] = x.GetCounter().GetValue()
		}
		require.GreaterOrEqual(t, kinds["seal"], 1.0, "the chain of a node that stopped")
		require.GreaterOrEqual(t, kinds["grant_chain"], 4.0)
		require.GreaterOrEqual(t, kinds["attach"], 6.0)
		for _, w := range writers {
			require.NoError(t, w.Close())
		}
	})
}

// TestTailAge: over the wire, too, a node says how old its answer about another
// node's log may be, also while it hears of nobody, and refuses what is older than
// was asked for.
func TestTailAge(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := New(t, 3)
		log, err := c.Client().Create(t.Context(), "a", wpd.LogConfig{})
		require.NoError(t, err)
		w, err := log.Writer(t.Context())
		require.NoError(t, err)
		_, err = w.Append(t.Context(), []byte("one"))
		require.NoError(t, err)
		writer := c.Writer("a")
		other := (writer + 1) % 3
		at := func(i int) *client.Service { // one that asks no other node instead
			s, err := client.Dial(t.Context(), client.Config{Addrs: []string{c.Node(i).Addr()}, Dialer: c.Net.Host(ClientHost).Dial, Forwarded: true})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			return s
		}
		here, there := at(writer), at(other)
		info, err := here.Lookup(t.Context(), "a")
		require.NoError(t, err)
		tailAge := func(s *client.Service, level api.Level) (time.Duration, error) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			tail, age, err := s.TailAge(ctx, info.ID, level)
			if err == nil {
				require.EqualValues(t, 2, tail)
			}
			return age, err
		}
		age, err := tailAge(here, api.Level{})
		require.NoError(t, err)
		require.Zero(t, age, "the writer")
		age, err = tailAge(there, api.Level{MaxLag: 5 * time.Second})
		require.NoError(t, err)
		require.Positive(t, age, "a follower")
		require.LessOrEqual(t, age, 5*time.Second)

		c.Partition(c.Names(other), append(c.Names(writer, (writer+2)%3), StoreHost))
		time.Sleep(time.Minute)
		age, err = tailAge(there, api.Level{})
		require.NoError(t, err)
		require.GreaterOrEqual(t, age, 50*time.Second, "it has heard of nobody for a minute")
		_, err = tailAge(there, api.Level{MaxLag: 5 * time.Second})
		var lag *api.LagError
		require.ErrorAs(t, err, &lag)
		require.GreaterOrEqual(t, lag.Age, 50*time.Second)
		require.Equal(t, 5*time.Second, lag.MaxLag)
		c.Heal()
		c.Await("fresh answers", func() bool {
			age, err = tailAge(there, api.Level{MaxLag: 5 * time.Second})
			return err == nil
		})
		require.LessOrEqual(t, age, 5*time.Second)
		require.NoError(t, w.Close())
	})
}
