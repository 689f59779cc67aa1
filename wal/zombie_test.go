package wal_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/wal/api"
)

// only is the one chain of a node that is not sealed.
func (g *group) only(name string) *fsm.Chain {
	g.Helper()
	all := g.chains(name)
	require.Len(g, all, 1)
	return all[0]
}

// holdFrom holds back the creates of a chain from object n on.
func (m *member) holdFrom(e fragment.Epoch, n uint64) *blobtest.Rule {
	return m.faults.Add(blobtest.Fault{Kind: blobtest.Create, Late: true, Match: func(op blobtest.Op) bool {
		epoch, at, err := fragment.ParseChainKey(op.Key)
		return err == nil && epoch == e && at >= n
	}})
}

// kind says what stands at a place of a chain.
func (g *group) kind(e fragment.Epoch, n uint64) string {
	g.Helper()
	b, ok := g.mem.Object(fragment.ChainKey(e, n))
	if !ok {
		return "none"
	}
	f, err := fragment.Decode(b)
	require.NoError(g, err)
	return f.Head.Kind.String()
}

// TestZombieCreates: a node is replaced while its creates are on their way. What
// the seal does not count is never acknowledged, in whatever order it lands,
// its LSNs are given out again by the next node, and nobody ever reads it; the
// producer's identical batches are stored there, once.
func TestZombieCreates(t *testing.T) {
	for _, before := range []bool{false, true} { // does the first create land before the seal?
		inGroup(t, func(g *group) {
			a, b := g.node("a"), g.node("b")
			id := g.create("x", api.LogConfig{})
			o := a.producer(id, "p")
			a.send(id, batch(o, 1, "one")).at(1)
			c := g.only("a")
			n := uint64(len(g.mem.Keys(fragment.ChainPrefix(c.Epoch)))) // the next object
			first := a.holdFrom(c.Epoch, n+1)
			second := a.faults.Add(blobtest.Fault{Kind: blobtest.Create, Late: true, Prefix: fragment.ChainKey(c.Epoch, n)})
			a.view.freeze()
			two := a.send(id, batch(o, 2, "two"))
			two.waits()
			three := a.send(id, batch(o, 3, "three"))
			time.Sleep(time.Second)
			three.waits()
			require.Positive(g, first.Waiting())
			require.Equal(g, 1, second.Waiting())
			if before {
				second.Release()
				two.at(2)
			}
			g.takeOver("a", b)
			again := b.send(id, batch(o, 2, "two"))
			again.at(2)
			b.send(id, batch(o, 3, "three")).at(3)
			b.send(id, batch(o, 4, "four")).at(4)
			three.waits()

			first.Release() // n + 1 before n
			second.Release()
			if !before {
				two.is(api.ErrMoved)
			}
			three.is(api.ErrMoved)
			require.NotZero(g, a.faults.Landed())
			five := a.send(id, batch(o, 5, "five"))
			five.waits() // it knows that its chain is over, and not yet who has the log
			a.view.thaw()
			<-five.done
			elsewhere(g, five.err, "b")
			require.Equal(g, []string{"one", "two", "three", "four"}, g.contents(id))
			require.Equal(g, "b", g.owner(id))
			// It goes on with a chain of its own.
			other := g.create("y", api.LogConfig{})
			p := a.producer(other, "")
			a.send(other, batch(p, 1, "new")).at(1)
			require.Equal(g, "a", g.owner(other))
		}, "a", "b")
	}
}

// TestZombieRefusesNothing: a node that does not know that it was replaced
// would refuse what the next one takes, and answer retries; it says nothing
// until the metadata confirm who writes the log.
func TestZombieRefusesNothing(t *testing.T) {
	inGroup(t, func(g *group) {
		a, b := g.node("a"), g.node("b")
		id := g.create("x", api.LogConfig{})
		o, other := a.producer(id, "p"), a.producer(id, "q")
		a.send(id, batch(o, 1, "one")).at(1)
		a.view.freeze()
		g.takeOver("a", b)
		b.send(id, batch(o, 2, "two")).at(2)

		asked := map[string]*sending{
			"tail":      a.send(id, batch(other, 1, "if"), 3),
			"gap":       a.send(id, batch(o, 3, "three")),
			"conflict":  a.send(id, batch(o, 1, "other bytes")),
			"stored":    a.send(id, batch(o, 1, "one")),
			"unknown":   a.send(id, batch(api.Opened{ID: 1 << 60, Epoch: 1}, 1, "nobody")),
			"too large": a.send(id, batch(o, 2, string(make([]byte, 5<<20)))),
		}
		errs := make(chan error, 10)
		ctx, cancel := context.WithTimeout(g.Context(), 20*time.Second)
		defer cancel()
		for _, ask := range []func() error{
			func() error { _, err := a.OpenProducer(ctx, api.OpenRequest{Log: id, Name: "p"}); return err },
			func() error { _, err := a.OpenProducer(ctx, api.OpenRequest{Log: id, Name: "p", Epoch: 1}); return err },
			func() error { _, err := a.Producer(ctx, id, "p"); return err },
			func() error { _, err := a.Producer(ctx, id, "nobody"); return err },
			func() error { return a.Trim(ctx, id, 77) },
			func() error { _, err := a.Lookup(ctx, "no such log"); return err },
		} {
			go func() { errs <- ask() }()
		}
		synctest.Wait()
		for name, x := range asked {
			select {
			case <-x.done:
				t.Fatalf("%s: a zombie says %v", name, x.err)
			default:
			}
		}
		require.Empty(g, errs)
		time.Sleep(6 * time.Second) // nobody waits for ever
		for name, x := range asked {
			<-x.done
			require.ErrorIs(g, x.err, api.ErrUnavailable, name)
		}
		for range 6 {
			require.ErrorIs(g, <-errs, api.ErrUnavailable)
		}
		a.view.thaw()
		for _, x := range []*sending{
			a.send(id, batch(other, 1, "if"), 3), a.send(id, batch(o, 1, "one")), a.send(id, batch(o, 3, "three")),
		} {
			<-x.done
			elsewhere(g, x.err, "b")
		}
		// Who writes the log says all of it.
		require.EqualValues(g, 3, failsAs[*api.TailError](b.send(id, batch(other, 1, "if"), 4)).Tail)
		b.send(id, batch(o, 1, "one")).at(1)
		require.True(g, failsAs[*api.SequenceError](b.send(id, batch(o, 1, "other bytes"))).Conflict)
		b.send(id, batch(o, 3, "three")).at(3)
	}, "a", "b")
}

// TestRefusedOnceConfirmed: as long as the metadata can't be asked, nobody is
// refused anything; then the refusal comes, by the same node.
func TestRefusedOnceConfirmed(t *testing.T) {
	inGroup(t, func(g *group) {
		a := g.node("a")
		id := g.create("x", api.LogConfig{})
		o := a.producer(id, "p")
		a.send(id, batch(o, 1, "one")).at(1)
		a.view.freeze()
		g.create("y", api.LogConfig{}) // something to be heard of
		x := a.send(id, batch(o, 2, "two"), 7)
		x.waits()
		y := a.send(id, batch(o, 2, "other"), 7)
		y.waits()
		a.send(id, batch(o, 2, "two")).at(2) // what is new needs nobody's word
		a.view.thaw()
		x.at(2) // and what was decided by then is gone by
		require.True(g, failsAs[*api.SequenceError](y).Conflict)

		// Nor while its lease has lapsed.
		a.view.hold(false)
		z := a.send(id, batch(o, 3, "three"), 7)
		z.waits()
		a.view.hold(true)
		require.EqualValues(g, 3, failsAs[*api.TailError](z).Tail)
	}, "a", "b")
}

// TestSealSettles: the store takes a fragment and does not answer any more; the
// node is replaced. What the committed seal counts is acknowledged by it, the
// rest is not, and nothing waits for the store.
func TestSealSettles(t *testing.T) {
	inGroup(t, func(g *group) {
		a, b := g.node("a"), g.node("b")
		id := g.create("x", api.LogConfig{})
		o := a.producer(id, "p")
		a.send(id, batch(o, 1, "one")).at(1)
		c := g.only("a")
		n := uint64(len(g.mem.Keys(fragment.ChainPrefix(c.Epoch))))
		var silent atomic.Int64
		a.faults.Hook(func(ctx context.Context, op blobtest.Op) error {
			epoch, at, err := fragment.ParseChainKey(op.Key)
			if err != nil || epoch != c.Epoch || at < n {
				return nil
			}
			if at == n && op.Kind == blobtest.Create {
				_ = g.mem.Create(ctx, op.Key, op.Parts) // and again, after each deadline
			}
			silent.Add(1)
			<-ctx.Done()
			return ctx.Err()
		})
		two := a.send(id, batch(o, 2, "two"))
		two.waits()
		three := a.send(id, batch(o, 3, "three"))
		time.Sleep(5 * time.Second)
		two.waits()
		three.waits()
		require.NotZero(g, silent.Load())
		require.Equal(g, "fragment", g.kind(c.Epoch, n))

		g.takeOver("a", b)
		two.at(2)
		three.is(api.ErrMoved)
		require.Equal(g, "seal", g.kind(c.Epoch, n+1))
		b.send(id, batch(o, 2, "two")).at(2)
		b.send(id, batch(o, 3, "three")).at(3)
		require.Equal(g, []string{"one", "two", "three"}, g.contents(id))
	}, "a", "b")
}

// TestCutOffFromPeers: a writer that nobody of the others reaches, but that
// reaches the store, starts nothing once its lease has lapsed, and finds the
// seal there: so its clients learn that they have to go elsewhere.
func TestCutOffFromPeers(t *testing.T) {
	inGroup(t, func(g *group) {
		a, b := g.node("a"), g.node("b")
		id := g.create("x", api.LogConfig{})
		o := a.producer(id, "p")
		a.send(id, batch(o, 1, "one")).at(1)
		a.view.freeze()
		a.view.hold(false)
		two := a.send(id, batch(o, 2, "two"))
		time.Sleep(time.Minute)
		two.waits()
		require.ErrorContains(g, a.Ready(), "lease has lapsed")
		g.takeOver("a", b)
		b.send(id, batch(o, 2, "two")).at(2)
		two.is(api.ErrMoved)
		a.send(id, batch(o, 3, "three")).is(api.ErrUnavailable)
		a.view.thaw()
		x := a.send(id, batch(o, 3, "three"))
		<-x.done
		elsewhere(g, x.err, "b")
		a.view.hold(true)
		synctest.Wait()
		require.NoError(g, a.Ready())
	}, "a", "b")
}

// TestLapsedLease: while its lease has lapsed, a node starts no fragment; what
// is in flight goes on, and when it is renewed, all of it.
func TestLapsedLease(t *testing.T) {
	inGroup(t, func(g *group) {
		a := g.node("a")
		id := g.create("x", api.LogConfig{})
		o := a.producer(id, "p")
		c := g.only("a")
		held := a.holdFrom(c.Epoch, 1)
		one := a.send(id, batch(o, 1, "one"))
		one.waits()
		require.Equal(g, 1, held.Waiting())
		a.view.hold(false)
		held.Remove()
		held.Release()
		one.at(1)
		creates := a.Creates()
		two := a.send(id, batch(o, 2, "two"))
		time.Sleep(time.Minute)
		two.waits()
		other := g.create("y", api.LogConfig{}) // nor is a log attached
		_, err := a.OpenProducer(g.Context(), api.OpenRequest{Log: other})
		require.ErrorIs(g, err, api.ErrUnavailable)
		require.Empty(g, g.owner(other))
		require.Equal(g, creates, a.Creates())
		a.view.hold(true)
		two.at(2)
	}, "a", "b")
}

// TestTakesNoLogs: a node whose clock is wrong, or that is being drained, takes
// no logs; what it has, stays.
func TestTakesNoLogs(t *testing.T) {
	inGroup(t, func(g *group) {
		a, b := g.node("a"), g.node("b")
		x, y := g.create("x", api.LogConfig{}), g.create("y", api.LogConfig{})
		o := a.producer(x, "p")
		a.view.mu.Lock()
		a.view.skew = errors.New("its clock is 2s ahead")
		a.view.mu.Unlock()
		_, err := a.OpenProducer(g.Context(), api.OpenRequest{Log: y})
		require.ErrorIs(g, err, api.ErrUnavailable)
		require.ErrorContains(g, err, "clock is 2s ahead")
		b.SetDraining(true)
		_, err = b.OpenProducer(g.Context(), api.OpenRequest{Log: y})
		require.ErrorIs(g, err, api.ErrUnavailable)
		require.ErrorContains(g, err, "drained")
		a.send(x, batch(o, 1, "one")).at(1)
		b.SetDraining(false)
		b.producer(y, "")
		require.Equal(g, "b", g.owner(y))
	}, "a", "b")
}
