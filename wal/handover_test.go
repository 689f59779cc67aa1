package wal_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// release begins to hand a log over.
func (m *member) release(id fragment.LogID) *sending {
	x := &sending{g: m.g, done: make(chan struct{})}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		x.settle(api.Ack{}, m.Release(ctx, id))
	}()
	return x
}

// TestRelease: a log goes to another node and back, without a seal. What was
// taken is acknowledged, what waited is moved, and the next node knows all that
// the one before knew: tail, producers, retries, generation.
func TestRelease(t *testing.T) {
	inGroup(t, func(g *group) {
		a, b := g.node("a"), g.node("b")
		id := g.create("x", api.LogConfig{})
		o, anon := a.producer(id, "p"), a.producer(id, "")
		a.send(id, batch(o, 1, "one")).at(1)
		a.send(id, batch(anon, 1, "anon")).at(2)

		c := g.only("a")
		held := a.holdFrom(c.Epoch, 1)
		taken := a.send(id, batch(o, 2, "two"))
		taken.waits()
		released := a.release(id)
		released.waits() // until that is durable
		waits := a.send(id, batch(o, 3, "three"))
		opens := make(chan error, 1)
		go func() {
			_, err := a.OpenProducer(g.Context(), api.OpenRequest{Log: id, Name: "q"})
			opens <- err
		}()
		waits.waits()
		require.Equal(g, "a", g.owner(id))
		held.Remove()
		held.Release()
		taken.at(3)
		released.is(nil)
		waits.is(api.ErrMoved)
		require.ErrorIs(g, <-opens, api.ErrMoved)
		require.Empty(g, g.owner(id))
		require.Empty(g, slices.Collect(a.Owned()))
		require.NoError(g, a.Release(g.Context(), id), "it is done already")

		b.send(id, batch(o, 3, "three")).at(4)
		b.send(id, batch(o, 1, "one")).at(1) // retries
		b.send(id, batch(anon, 1, "anon")).at(2)
		b.send(id, batch(anon, 2, "more")).at(5)
		require.False(g, failsAs[*api.SequenceError](b.send(id, batch(o, 5, "five"))).Conflict)
		info, err := b.Producer(g.Context(), id, "p")
		require.NoError(g, err)
		require.EqualValues(g, 3, info.Last)
		exclusive, err := b.OpenProducer(g.Context(), api.OpenRequest{Log: id, Exclusive: true})
		require.NoError(g, err)

		require.NoError(g, b.Release(g.Context(), id))
		failsAs[*api.FencedError](a.send(id, batch(o, 4, "fenced")))
		a.send(id, batch(exclusive, 1, "mine")).at(6)
		require.Equal(g, "a", g.owner(id))
		require.Equal(g, []string{"one", "anon", "two", "three", "more", "mine"}, g.contents(id))
		require.Len(g, g.chains("a"), 1)
		require.Len(g, g.chains("b"), 1, "nothing was sealed")
	}, "a", "b")
}

// TestReleaseFlushes: a hand-over does not wait for the flush interval.
func TestReleaseFlushes(t *testing.T) {
	inGroup(t, func(g *group) {
		a := g.start("a", func(c *wal.Config) { c.FlushInterval = time.Hour })
		id := g.create("x", api.LogConfig{})
		o := a.producer(id, "")
		a.send(id, batch(o, 1, "one")).at(1) // the first of them
		two := a.send(id, batch(o, 2, "two"))
		two.waits()
		begin := time.Now()
		require.NoError(g, a.Release(g.Context(), id))
		two.at(2)
		require.Less(g, time.Since(begin), time.Minute)
	})
}

// TestReleaseRaisedEpoch: an epoch that was raised and never used goes with the
// log, too: whoever had the one before stays fenced.
func TestReleaseRaisedEpoch(t *testing.T) {
	inGroup(t, func(g *group) {
		a, b := g.node("a"), g.node("b")
		id := g.create("x", api.LogConfig{})
		o := a.producer(id, "p")
		a.send(id, batch(o, 1, "one")).at(1)
		b.send(id, batch(o, 2, "elsewhere")).is(api.ErrMoved) // it has looked at the chain by now
		raised := a.producer(id, "p")
		require.NoError(g, a.Release(g.Context(), id))
		failsAs[*api.FencedError](b.send(id, batch(o, 2, "zombie")))
		b.send(id, batch(raised, 2, "two")).at(2)
	}, "a", "b")
}

// TestReleaseOutcomeLost: as long as nobody knows whether the log was detached,
// nothing is appended to it here; a proposal that comes later changes nothing
// any more.
func TestReleaseOutcomeLost(t *testing.T) {
	isDetach := func(c *fsmpb.Command) bool { return c.GetDetach() != nil }
	t.Run("nothing was done", func(t *testing.T) {
		inGroup(t, func(g *group) {
			a := g.node("a")
			id := g.create("x", api.LogConfig{})
			o := a.producer(id, "p")
			a.view.strike(func(c *fsmpb.Command) trouble { return map[bool]trouble{true: notDone}[isDetach(c)] })
			a.release(id).is(api.ErrUnavailable)
			a.send(id, batch(o, 1, "one")).at(1)
			require.Equal(g, "a", g.owner(id))
		}, "a", "b")
	})
	t.Run("late", func(t *testing.T) {
		inGroup(t, func(g *group) {
			a, b := g.node("a"), g.node("b")
			id := g.create("x", api.LogConfig{})
			o := a.producer(id, "p")
			a.send(id, batch(o, 1, "one")).at(1)
			a.view.strikeFirst(1000, late, isDetach)
			ctx, cancel := context.WithTimeout(g.Context(), time.Minute)
			defer cancel()
			require.ErrorIs(g, a.Release(ctx, id), api.ErrUnavailable)
			require.Greater(g, a.view.struck.Load(), int64(5))
			// Had it gone on, what it acknowledged would be cut off now.
			a.send(id, batch(o, 2, "two")).is(api.ErrUnavailable)
			n := a.view.release()
			require.Positive(g, n)
			require.Empty(g, g.owner(id))
			b.send(id, batch(o, 2, "two")).at(2)
			a.view.strike(nil)
			time.Sleep(time.Minute)
			a.view.release() // more of them: the log is elsewhere
			b.send(id, batch(o, 3, "three")).at(3)
			x := a.send(id, batch(o, 3, "three"))
			<-x.done
			elsewhere(g, x.err, "b")
			require.Equal(g, []string{"one", "two", "three"}, g.contents(id))
		}, "a", "b")
	})
	t.Run("lost", func(t *testing.T) {
		inGroup(t, func(g *group) {
			a, b := g.node("a"), g.node("b")
			id := g.create("x", api.LogConfig{})
			o := a.producer(id, "p")
			a.send(id, batch(o, 1, "one")).at(1)
			a.view.strikeFirst(1, lost, isDetach)
			require.NoError(g, a.Release(g.Context(), id))
			require.EqualValues(g, 1, a.view.struck.Load())
			b.send(id, batch(o, 2, "two")).at(2)
		}, "a", "b")
	})
	t.Run("not heard of for long", func(t *testing.T) {
		inGroup(t, func(g *group) {
			a, b := g.node("a"), g.node("b")
			id := g.create("x", api.LogConfig{})
			o := a.producer(id, "p")
			a.send(id, batch(o, 1, "one")).at(1)
			a.view.strikeFirst(1, committed, isDetach)
			released := a.release(id)
			synctest.Wait()
			require.Empty(g, g.owner(id))
			for _, ask := range []func(ctx context.Context) error{
				func(ctx context.Context) error {
					tail, err := a.Tail(ctx, id, api.Level{Linearizable: true})
					require.EqualValues(g, 2, tail)
					return err
				},
				func(ctx context.Context) error { _, err := a.Producer(ctx, id, "p"); return err },
				func(ctx context.Context) error { return a.Trim(ctx, id, 2) },
			} {
				ctx, cancel := context.WithTimeout(g.Context(), 20*time.Second)
				require.NoError(g, ask(ctx))
				cancel()
			}
			released.is(nil)
			b.send(id, batch(o, 2, "two")).at(2)
		}, "a", "b")
	})
	t.Run("lost, and attached elsewhere since", func(t *testing.T) {
		inGroup(t, func(g *group) {
			a, b := g.node("a"), g.node("b")
			id := g.create("x", api.LogConfig{})
			o := a.producer(id, "p")
			a.send(id, batch(o, 1, "one")).at(1)
			first := true
			a.view.strike(func(c *fsmpb.Command) trouble {
				if isDetach(c) && first {
					first = false
					go b.send(id, batch(o, 2, "two"))
					return lost
				}
				return none
			})
			require.NoError(g, a.Release(g.Context(), id))
			require.Equal(g, "b", g.owner(id))
			b.send(id, batch(o, 2, "two")).at(2)
		}, "a", "b")
	})
	t.Run("sealed meanwhile", func(t *testing.T) {
		inGroup(t, func(g *group) {
			a, b := g.node("a"), g.node("b")
			id := g.create("x", api.LogConfig{})
			o := a.producer(id, "p")
			a.send(id, batch(o, 1, "one")).at(1)
			var struck atomic.Int64
			a.view.strike(func(c *fsmpb.Command) trouble {
				if isDetach(c) && struck.Add(1) == 1 {
					g.takeOver("a", b)
				}
				return none
			})
			require.NoError(g, a.Release(g.Context(), id))
			require.EqualValues(g, 1, struck.Load())
			b.send(id, batch(o, 2, "two")).at(2)
		}, "a", "b")
	})
}

// TestReleaseCrash: the node dies at each step of a hand-over; another one takes
// over, and all that was acknowledged is there, once.
func TestReleaseCrash(t *testing.T) {
	steps := map[string]func(a *member, c *fsm.Chain, dies func()){
		"before what was taken is durable": func(a *member, c *fsm.Chain, dies func()) {
			a.holdFrom(c.Epoch, 1)
			go func() {
				time.Sleep(time.Second)
				dies()
			}()
		},
		"before the log is detached": func(a *member, _ *fsm.Chain, dies func()) {
			a.view.strike(func(c *fsmpb.Command) trouble {
				if c.GetDetach() != nil {
					go dies()
					return late // never
				}
				return none
			})
		},
		"when the log is detached, and before it knows": func(a *member, _ *fsm.Chain, dies func()) {
			a.view.strike(func(c *fsmpb.Command) trouble {
				if c.GetDetach() != nil {
					go dies()
					return committed
				}
				return none
			})
		},
	}
	for name, step := range steps {
		t.Run(name, func(t *testing.T) {
			inGroup(t, func(g *group) {
				a, b := g.node("a"), g.node("b")
				id := g.create("x", api.LogConfig{})
				o := a.producer(id, "p")
				a.send(id, batch(o, 1, "one")).at(1)
				dead := make(chan struct{})
				step(a, g.only("a"), func() {
					a.crash()
					close(dead)
				})
				two := a.send(id, batch(o, 2, "two"))
				synctest.Wait()
				a.release(id)
				<-dead
				g.takeOver("a", b)
				b.send(id, batch(o, 2, "two")).at(2)
				select {
				case <-two.done:
					if two.err == nil {
						require.EqualValues(g, 2, two.ack.From)
					}
				default:
					t.Fatal("not answered")
				}
				b.send(id, batch(o, 3, "three")).at(3)
				g.start("a", nil)
				require.Equal(g, []string{"one", "two", "three"}, g.contents(id))
			}, "a", "b")
		})
	}
}

// TestReleaseAll: a node that is drained hands all its logs over, under load,
// and takes none; closing it then seals its chains.
func TestReleaseAll(t *testing.T) {
	inGroup(t, func(g *group) {
		a, b := g.node("a"), g.node("b")
		slow(a)
		slow(b)
		const logs = 50
		var ids []fragment.LogID
		var producers []api.Opened
		for i := range logs {
			id := g.create(fmt.Sprint("x", i), api.LogConfig{Dedicated: i%10 == 0})
			ids, producers = append(ids, id), append(producers, a.producer(id, "p"))
		}
		require.Len(g, slices.Collect(a.Owned()), logs)
		require.Len(g, g.chains("a"), 1+logs/10)
		var under []*sending
		for i, id := range ids {
			under = append(under, a.send(id, batch(producers[i], 1, "one")))
		}
		synctest.Wait()
		require.NoError(g, a.ReleaseAll(g.Context(), 8))
		for _, x := range under {
			x.at(1)
		}
		require.Empty(g, slices.Collect(a.Owned()))
		for i, id := range ids {
			require.Empty(g, g.owner(id))
			a.send(id, batch(producers[i], 2, "two")).is(api.ErrUnavailable)
			b.send(id, batch(producers[i], 2, "two")).at(2)
		}
		a.stop()
		require.Empty(g, g.chains("a"), "all are sealed")
		for _, id := range ids {
			require.Equal(g, []string{"one", "two"}, g.contents(id))
		}
	}, "a", "b")
}

// TestReleaseAllInVain: a node that can't hand its logs over says how many are
// left, and why one of them is, in one line however many there are.
func TestReleaseAllInVain(t *testing.T) {
	inGroup(t, func(g *group) {
		a := g.node("a")
		for i := range 30 {
			a.producer(g.create(fmt.Sprint("x", i), api.LogConfig{}), "p")
		}
		a.view.strike(func(c *fsmpb.Command) trouble { return map[bool]trouble{true: notDone}[c.GetDetach() != nil] })
		ctx, cancel := context.WithTimeout(g.Context(), 5*time.Second)
		defer cancel()
		err := a.ReleaseAll(ctx, 8)
		require.GreaterOrEqual(g, a.view.struck.Load(), int64(30))
		require.ErrorIs(g, err, api.ErrUnavailable)
		require.ErrorIs(g, err, context.DeadlineExceeded)
		require.ErrorContains(g, err, "30 are left")
		require.NotContains(g, err.Error(), "\n")
		a.view.strike(nil)
		require.NoError(g, a.ReleaseAll(g.Context(), 8))
	}, "a", "b")
}

// TestCloseHandsOver: closing a node of several lets its logs go before it seals.
func TestCloseHandsOver(t *testing.T) {
	inGroup(t, func(g *group) {
		a, b := g.node("a"), g.node("b")
		id := g.create("x", api.LogConfig{})
		o := a.producer(id, "p")
		var detached atomic.Bool
		a.view.strike(func(c *fsmpb.Command) trouble {
			if c.GetDetach() != nil {
				detached.Store(true)
			}
			return none
		})
		a.send(id, batch(o, 1, "one")).at(1)
		a.stop()
		require.True(g, detached.Load())
		require.Empty(g, g.chains("a"))
		b.send(id, batch(o, 2, "two")).at(2)
	}, "a", "b")
}

// TestAttachOutcomeLost: a node that did not hear that it got a log, takes it
// when it is asked again; and so does a hand-over of it.
func TestAttachOutcomeLost(t *testing.T) {
	for _, how := range []trouble{lost, late, committed} {
		inGroup(t, func(g *group) {
			a, b := g.node("a"), g.node("b")
			id := g.create("x", api.LogConfig{})
			o := b.producer(id, "p")
			b.send(id, batch(o, 1, "one")).at(1)
			require.NoError(g, b.Release(g.Context(), id))
			a.view.strikeFirst(1, how, func(c *fsmpb.Command) bool { return c.GetAttach() != nil })
			a.send(id, batch(o, 2, "two")).is(api.ErrUnavailable)
			a.view.release()
			require.EqualValues(g, 1, a.view.struck.Load())
			require.Equal(g, "a", g.owner(id))
			x := b.send(id, batch(o, 2, "two"))
			<-x.done
			elsewhere(g, x.err, "a")
			a.send(id, batch(o, 1, "one")).at(1)
			a.send(id, batch(o, 2, "two")).at(2)
			require.Equal(g, []string{"one", "two"}, g.contents(id))
		}, "a", "b")
		inGroup(t, func(g *group) {
			a, b := g.node("a"), g.node("b")
			id := g.create("x", api.LogConfig{})
			a.view.strike(func(c *fsmpb.Command) trouble { return map[bool]trouble{true: how}[c.GetAttach() != nil] })
			a.send(id, batch(api.Opened{ID: 1, Epoch: 1}, 1, "one")).is(api.ErrUnavailable)
			a.view.strike(nil)
			a.view.release()
			require.Equal(g, "a", g.owner(id))
			require.NoError(g, a.Release(g.Context(), id))
			o := b.producer(id, "p")
			b.send(id, batch(o, 1, "one")).at(1)
		}, "a", "b")
	}
}

// TestExclusiveOutcomeLost: a generation whose commit was not heard of is found
// out about, and handed out, once; nothing is appended until then.
func TestExclusiveOutcomeLost(t *testing.T) {
	for _, how := range []trouble{lost, late} {
		inGroup(t, func(g *group) {
			a := g.node("a")
			id := g.create("x", api.LogConfig{})
			o := a.producer(id, "p")
			a.view.strikeFirst(3, how, func(c *fsmpb.Command) bool { return c.GetOpenExclusive() != nil })
			type result struct {
				o   api.Opened
				err error
			}
			opened := make(chan result, 1)
			go func() {
				o, err := a.OpenProducer(g.Context(), api.OpenRequest{Log: id, Exclusive: true})
				opened <- result{o, err}
			}()
			synctest.Wait()
			x := a.send(id, batch(o, 1, "one"))
			r := <-opened
			require.NoError(g, r.err)
			require.EqualValues(g, 1, r.o.Generation)
			failsAs[*api.FencedError](x)
			a.send(id, batch(r.o, 1, "mine")).at(1)
			a.view.release() // of an older one: nothing happens
			a.send(id, batch(r.o, 2, "mine too")).at(2)
			require.Positive(g, a.view.struck.Load())
		}, "a", "b")
	}
}
