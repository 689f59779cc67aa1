package cluster

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// lapseWorld is a state and a leader's table of it, without a cluster around.
type lapseWorld struct {
	t     *testing.T
	s     *fsm.State
	table *table
	index uint64
}

func newLapseWorld(t *testing.T, nodes ...string) *lapseWorld {
	w := &lapseWorld{t: t, s: fsm.New(), table: newTable(newClock(nil), 3*time.Second)}
	w.apply(fsm.NewInitCluster(fragment.ClusterID{1}, fsm.FeatureLevel))
	for _, n := range nodes {
		w.boot(n, 1)
	}
	require.True(t, w.table.enterLocked(1))
	return w
}

func (w *lapseWorld) apply(c *fsmpb.Command) fsm.Result {
	w.t.Helper()
	w.index++
	r, err := w.s.Apply(w.index, c)
	require.NoError(w.t, err)
	require.NoError(w.t, r.Err)
	return r
}

func (w *lapseWorld) boot(n string, boot uint64) {
	w.apply(fsm.NewRegisterBoot(fsm.Node{Identity: n, Name: n, Boot: boot, Nonce: fragment.Nonce{byte(boot)}, Feature: fsm.FeatureLevel}))
}

func (w *lapseWorld) grant(n string) fragment.Epoch {
	node, _ := w.s.Node(n)
	return w.apply(fsm.NewGrantChain(n, node.Boot, 8, fsm.KindObjects, 0)).Epoch
}

// renew has nodes renew.
func (w *lapseWorld) renew(nodes ...string) {
	for _, n := range nodes {
		node, _ := w.s.Node(n)
		w.table.answerLocked(w.s, Renewal{Identity: n, Boot: node.Boot})
	}
}

// orders returns what the leader n1 decides, and carries it out.
func (w *lapseWorld) orders() []string {
	var out []string
	for _, o := range w.table.ordersLocked(w.s, "n1") {
		what := "asked"
		if o.lapsed {
			what = "lapsed"
		}
		out = append(out, fmt.Sprintf("%d of %s %s: %s seals from %d", uint64(o.epoch), o.node, what, o.sealer, o.hint))
		w.apply(fsm.NewBeginSeal(o.epoch, o.hint, o.sealer))
	}
	return out
}

// pass lets time pass, in which nodes renew and nothing is decided.
func (w *lapseWorld) pass(d time.Duration, nodes ...string) {
	w.t.Helper()
	const step = 100 * time.Millisecond
	for ; d > 0; d -= step {
		time.Sleep(min(d, step))
		w.renew(nodes...)
		require.Empty(w.t, w.orders())
	}
}

// A lease lapses a TTL after the last renewal that was answered, not before; a
// new chain's a TTL after the leader saw it, and all of a new leader's a TTL
// after it began.
func TestLapseMoment(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newLapseWorld(t, "n1", "n2", "n3")
		a, b := w.grant("n2"), w.grant("n3")
		w.pass(10*time.Second, "n1", "n2", "n3")
		answer := w.table.answerLocked(w.s, Renewal{Identity: "n2", Boot: 1, Report: Report{Chains: []ChainReport{{a, 17}, {b, 99}, {77, 5}}}})
		require.Equal(t, []fragment.Epoch{a}, answer.Epochs)
		w.pass(time.Second, "n1", "n3")
		w.grant("n2") // by a node that is about to lapse
		w.pass(2*time.Second-time.Nanosecond, "n1", "n3")
		time.Sleep(time.Nanosecond)
		require.Equal(t, []string{"1 of n2 lapsed: n1 seals from 17"}, w.orders())
		w.pass(time.Second+99*time.Millisecond, "n1", "n3")
		time.Sleep(time.Millisecond)
		w.renew("n1", "n3")
		require.Equal(t, []string{"3 of n2 lapsed: n3 seals from 0"}, w.orders())

		// In a new term nothing is known, so everybody has a TTL from then on.
		time.Sleep(time.Hour)
		require.True(t, w.table.enterLocked(3))
		require.False(t, w.table.enterLocked(2))
		require.Empty(t, w.orders())
		w.pass(3*time.Second-time.Nanosecond, "n1", "n2")
		time.Sleep(time.Nanosecond)
		require.Equal(t, []string{
			"2 of n3 lapsed: n2 seals from 0", // n2 told of it, but does not write it
			"3 of n2 asked: n1 seals from 0",
		}, w.orders())
	})
}

// A chain that the leader is having sealed is renewed no more, even before the
// command is applied. If that fails it is given again, also once the node is
// back.
func TestLapseEnding(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newLapseWorld(t, "n1", "n2")
		e := w.grant("n2")
		renew := func() []fragment.Epoch { return w.table.answerLocked(w.s, Renewal{Identity: "n2", Boot: 1}).Epochs }
		require.Equal(t, []fragment.Epoch{e}, renew())
		w.pass(3*time.Second-time.Nanosecond, "n1")
		time.Sleep(time.Nanosecond)
		for range 2 {
			require.Len(t, w.table.ordersLocked(w.s, "n1"), 1)
			require.Empty(t, renew(), "decided")
		}
		f := w.grant("n2")
		require.Equal(t, []fragment.Epoch{f}, renew(), "another chain of the same node")
		require.Equal(t, []string{"1 of n2 lapsed: n1 seals from 0"}, w.orders())
		w.pass(9*time.Second, "n1", "n2")
	})
}

// Who seals: nodes that are alive and not removed, evenly, and another one when
// the first is gone, removed, or slow.
func TestLapseSealers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newLapseWorld(t, "n1", "n2", "n3", "n4", "n5")
		for range 6 {
			w.grant("n5")
		}
		w.pass(time.Second, "n1", "n2", "n3", "n4", "n5")
		w.apply(fsm.NewRemoveNode("n4"))
		w.pass(3*time.Second-time.Nanosecond, "n1", "n2", "n3", "n4")
		time.Sleep(time.Nanosecond)
		require.Equal(t, []string{
			"1 of n5 lapsed: n1 seals from 0", "2 of n5 lapsed: n2 seals from 0", "3 of n5 lapsed: n3 seals from 0",
			"4 of n5 lapsed: n1 seals from 0", "5 of n5 lapsed: n2 seals from 0", "6 of n5 lapsed: n3 seals from 0",
		}, w.orders())
		for _, e := range []fragment.Epoch{4, 5} {
			w.apply(fsm.NewSeal(e, fsm.Seal{At: 1, Index: fsm.Ref{Key: "k", Size: 1}}))
		}
		// n2 is removed: its chain gets another sealer at once.
		w.apply(fsm.NewRemoveNode("n2"))
		require.Equal(t, []string{"2 of n5 asked: n1 seals from 0"}, w.orders())
		// n1 does not get on, n3 dies; n5 is back.
		w.boot("n5", 2)
		w.pass(3*time.Second-time.Nanosecond, "n1", "n5")
		time.Sleep(time.Nanosecond)
		require.Equal(t, []string{"3 of n5 asked: n1 seals from 0", "6 of n5 asked: n1 seals from 0"}, w.orders())
		w.pass(7*time.Second-time.Nanosecond, "n1", "n5")
		time.Sleep(time.Nanosecond)
		w.renew("n1", "n5")
		require.Equal(t, []string{"1 of n5 asked: n5 seals from 0"}, w.orders())
		time.Sleep(100 * time.Millisecond) // its second sealer was seen that much later
		require.Equal(t, []string{"2 of n5 asked: n5 seals from 0"}, w.orders())
		w.apply(fsm.NewSeal(1, fsm.Seal{At: 1, Index: fsm.Ref{Key: "k", Size: 1}}))
		require.Len(t, w.table.chains, 4)
		require.Empty(t, w.orders())
		require.Len(t, w.table.chains, 3, "what is sealed is forgotten")
		require.NotContains(t, w.table.nodes, "n4")
	})
}

// A node that comes back under a new boot is to seal its own chains. Another one
// is asked if it does not get that far.
func TestLapseRestart(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newLapseWorld(t, "n1", "n2")
		w.grant("n2")
		w.pass(2900*time.Millisecond, "n1")
		w.boot("n2", 2)
		w.pass(time.Second, "n1") // though its old boot renewed long ago
		w.pass(8*time.Second, "n1", "n2")
		e := w.grant("n2")
		w.pass(time.Second, "n1", "n2")
		time.Sleep(100 * time.Millisecond)
		require.Equal(t, []string{"1 of n2 asked: n1 seals from 0"}, w.orders())
		require.Equal(t, []fragment.Epoch{e}, w.table.answerLocked(w.s, Renewal{Identity: "n2", Boot: 2}).Epochs)
	})
}

// A leader that stood still does not know who tried to renew meanwhile.
func TestLapseAfterStall(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newLapseWorld(t, "n1", "n2")
		w.grant("n2")
		w.pass(time.Second, "n1", "n2")
		time.Sleep(time.Minute)
		require.Empty(t, w.orders())
		w.pass(3*time.Second-time.Nanosecond, "n1")
		time.Sleep(time.Nanosecond)
		require.Len(t, w.orders(), 1)
	})
}

// Renewals that are not for this state are refused, each with its reason.
func TestRenewRefused(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x, y := g.others(lead)[0], g.others(lead)[1]
		e := x.grant()
		time.Sleep(time.Second)
		for reason, r := range map[string]Renewal{
			"unknown":     {Identity: "n9-9", Boot: 1, Incarnation: 1},
			"not its":     {Identity: x.identity, Boot: 2, Incarnation: 1},
			"incarnation": {Identity: x.identity, Boot: 1, Incarnation: 2},
		} {
			_, err := lead.ServeRenew(t.Context(), r)
			refused, ok := errors.AsType[*RefusedError](err)
			require.True(t, ok, err)
			require.Contains(t, refused.Reason, reason)
		}
		_, err := lead.Propose(t.Context(), fsm.NewRemoveNode(x.identity))
		require.NoError(t, err)
		l := x.Lease(e)
		begin := time.Now()
		for l.Held() {
			<-l.Changed()
		}
		require.Less(t, time.Since(begin), time.Second, "told, not only left without an answer")
		require.Positive(t, testutil.ToFloat64(x.metrics.lease.renewals.WithLabelValues("refused")))
		require.NoError(t, y.Confirm(t.Context()))
		g.await(time.Second, func() bool { return y.chain(e).Sealer != "" })
		require.NotEqual(t, x.identity, y.chain(e).Sealer)
		_, err = lead.ServeRenew(t.Context(), Renewal{Identity: x.identity, Boot: 1, Incarnation: 1})
		require.ErrorContains(t, err, "removed")
	})
}

// What nodes report is what the leader hints at and tells of them.
func TestRenewReport(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x := g.others(lead)[0]
		e := x.grant()
		x.SetReport(func() Report {
			return Report{Chains: []ChainReport{{Epoch: e, Durable: 42}}, Logs: 3, BytesPerSec: 1 << 20}
		})
		time.Sleep(10 * time.Millisecond) // it tells at once
		standing := func() Standing {
			all, err := lead.Standings(t.Context())
			require.NoError(t, err)
			for _, s := range all {
				if s.Identity == x.identity {
					return s
				}
			}
			return Standing{}
		}
		s := standing()
		require.True(t, s.Alive)
		require.EqualValues(t, 3, s.Report.Logs)
		require.False(t, s.Report.Draining)
		require.Positive(t, s.Applied)
		x.SetDraining(true)
		x.ahead.Store(int64(-time.Hour))
		time.Sleep(time.Second)
		s = standing()
		require.True(t, s.Report.Draining)
		require.InDelta(t, -time.Hour, s.Report.ClockSkew, float64(10*time.Millisecond))
		require.InDelta(t, -3600, testutil.ToFloat64(x.metrics.lease.skew), 0.1)

		before := testutil.ToFloat64(lead.metrics.lease.takeovers)
		g.net.isolate(x.identity, true)
		time.Sleep(4 * time.Second)
		require.False(t, standing().Alive)
		require.EqualValues(t, 42, lead.chain(e).DurableHint)
		require.Equal(t, before+1, testutil.ToFloat64(lead.metrics.lease.takeovers))
		require.EqualValues(t, 1, testutil.ToFloat64(x.metrics.lease.lapses))
		require.Zero(t, testutil.ToFloat64(x.metrics.lease.held))
	})
}
