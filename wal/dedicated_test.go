package wal_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// of is the chain of a node that is for one log alone.
func (g *group) of(name string, id fragment.LogID) *fsm.Chain {
	g.Helper()
	all := g.chains(name)
	i := slices.IndexFunc(all, func(c *fsm.Chain) bool { return c.Log == id && c.State == fsm.ChainOpen })
	require.GreaterOrEqual(g, i, 0, "no chain of log %d", id)
	return all[i]
}

// configure switches whether a log has a chain of its own.
func (g *group) configure(m *member, id fragment.LogID, dedicated bool) {
	g.Helper()
	info, err := m.Info(g.Context(), id)
	require.NoError(g, err)
	info.Config.Dedicated = dedicated
	_, err = m.Configure(g.Context(), id, info.ConfigVersion, info.Config)
	require.NoError(g, err)
}

// TestDedicated: a log that is configured so has a chain of its own, from its
// first use on; nothing else is on it, and it waits for no other log.
func TestDedicated(t *testing.T) {
	inGroup(t, func(g *group) {
		a := g.node("a")
		hot, cold := g.create("hot", api.LogConfig{Dedicated: true}), g.create("cold", api.LogConfig{})
		require.Len(g, g.chains("a"), 1, "none until it is used")
		o, p := a.producer(hot, "p"), a.producer(cold, "p")
		a.send(cold, batch(p, 1, "cold")).at(1)
		c := g.of("a", hot)
		info, err := a.Info(g.Context(), hot)
		require.NoError(g, err)
		require.Equal(g, c.Epoch, info.Epoch)
		require.True(g, info.Config.Dedicated)
		require.NotEqual(g, c.Epoch, a.Epoch())
		require.EqualValues(g, a.Epoch(), 1)

		held := a.holdFrom(a.Epoch(), 1)
		stuck := a.send(cold, batch(p, 2, "stuck"))
		stuck.waits()
		a.send(hot, batch(o, 1, "hot")).at(1)
		for _, key := range g.mem.Keys(fragment.ChainPrefix(c.Epoch)) {
			b, _ := g.mem.Object(key)
			f, err := fragment.Decode(b)
			require.NoError(g, err)
			for _, s := range f.Directory.States {
				require.Equal(g, hot, s.Log)
			}
		}
		held.Release()
		stuck.at(2)
		r := a.Report()
		require.Len(g, r.Chains, 2)
		require.Equal(g, hot, r.Chains[1].Log)
		require.EqualValues(g, 1, r.Chains[1].Logs)
		require.EqualValues(g, 2, r.Logs)
		for _, x := range slices.Collect(a.Owned()) {
			require.Equal(g, x.Log == hot, x.Dedicated)
		}
	}, "a")
}

// TestSwitchDedicated: a log in use gets a chain of its own and loses it again,
// while it is appended to: nothing fails, and all is there, in order.
func TestSwitchDedicated(t *testing.T) {
	inGroup(t, func(g *group) {
		a := g.node("a")
		slow(a)
		id := g.create("x", api.LogConfig{})
		o := a.producer(id, "p")
		done := make(chan []*sending)
		stop := make(chan struct{})
		var want []string
		go func() {
			var all []*sending
			for seq := uint64(1); ; seq++ {
				select {
				case <-stop:
					done <- all
					return
				default:
				}
				want = append(want, fmt.Sprint(seq))
				x := &sending{g: g, done: make(chan struct{})}
				if err := a.Append(g.Context(), api.AppendRequest{Log: id, Batch: batch(o, seq, fmt.Sprint(seq))}, x.settle); err != nil {
					x.settle(api.Ack{}, err)
				}
				all = append(all, x)
				time.Sleep(20 * time.Millisecond)
			}
		}()
		epochs := map[fragment.Epoch]bool{}
		for i := range 6 {
			time.Sleep(300 * time.Millisecond)
			info, err := a.Info(g.Context(), id)
			require.NoError(g, err)
			require.Equal(g, i%2 == 1, info.Epoch != a.Epoch(), "switch %d", i)
			epochs[info.Epoch] = true
			g.configure(a, id, i%2 == 0)
			time.Sleep(11 * time.Second) // not more often than that
		}
		close(stop)
		for i, x := range <-done {
			x.at(fragment.LSN(i) + 1)
		}
		require.Len(g, epochs, 4, "the one for all, and three of its own")
		time.Sleep(time.Second)
		require.Len(g, g.chains("a"), 1, "those that are not needed are sealed")
		require.Equal(g, want, g.contents(id))
	}, "a")
}

// TestChainsMax: beyond the limit there is a clear error; a log that is on the
// chain for all stays there; and a chain that is given back makes room.
func TestChainsMax(t *testing.T) {
	inGroup(t, func(g *group) {
		a := g.start("a", func(c *wal.Config) { c.ChainsMax = 2 })
		var ids []fragment.LogID
		for i := range 4 {
			ids = append(ids, g.create(fmt.Sprint("x", i), api.LogConfig{Dedicated: i < 3}))
		}
		a.producer(ids[0], "p")
		a.producer(ids[1], "p")
		o := a.producer(ids[3], "p")
		_, err := a.OpenProducer(g.Context(), api.OpenRequest{Log: ids[2]})
		var limit *api.LimitError
		require.ErrorAs(g, err, &limit)
		require.EqualValues(g, 2, limit.Limit)
		require.EqualValues(g, 3, limit.Value)
		require.ErrorAs(g, failsAs[error](a.send(ids[2], batch(o, 1, "no"))), &limit)

		g.configure(a, ids[3], true)
		time.Sleep(time.Minute)
		a.send(ids[3], batch(o, 1, "stays")).at(1)
		info, err := a.Info(g.Context(), ids[3])
		require.NoError(g, err)
		require.Equal(g, a.Epoch(), info.Epoch)

		require.NoError(g, a.Delete(g.Context(), ids[0]))
		time.Sleep(2 * time.Minute)
		info, err = a.Info(g.Context(), ids[3])
		require.NoError(g, err)
		require.NotEqual(g, a.Epoch(), info.Epoch, "there is room now")
		a.send(ids[3], batch(o, 2, "moved")).at(2)
		require.Len(g, g.chains("a"), 3)
		require.Equal(g, []string{"stays", "moved"}, g.contents(ids[3]))
	})
}

// TestChainIdle: a log that is not used for long gives its chain back, and gets
// another one when it is used again. One that is used keeps it.
func TestChainIdle(t *testing.T) {
	inGroup(t, func(g *group) {
		a := g.node("a")
		idle, busy := g.create("idle", api.LogConfig{Dedicated: true}), g.create("busy", api.LogConfig{Dedicated: true})
		o, p := a.producer(idle, "p"), a.producer(busy, "p")
		a.send(idle, batch(o, 1, "one")).at(1)
		for i := range uint64(10) {
			a.send(busy, batch(p, i+1, "more")).at(fragment.LSN(i) + 1)
			time.Sleep(7 * time.Minute)
			require.Len(g, g.chains("a"), map[bool]int{true: 3, false: 2}[i < 8], "%d", i)
		}
		g.of("a", busy)
		require.Empty(g, g.owner(idle))
		a.send(idle, batch(o, 1, "one")).at(1) // the retry
		a.send(idle, batch(o, 2, "two")).at(2)
		g.of("a", idle)
		require.Equal(g, []string{"one", "two"}, g.contents(idle))
		time.Sleep(3 * time.Hour)
		require.Len(g, g.chains("a"), 1, "and the one for all")
	}, "a")
}

// TestChainForNobody: a chain that was opened for a log that went elsewhere
// meanwhile, or was deleted, is given back.
func TestChainForNobody(t *testing.T) {
	inGroup(t, func(g *group) {
		a, b := g.node("a"), g.node("b")
		id := g.create("x", api.LogConfig{Dedicated: true})
		b.view.freeze()
		x := b.send(id, batch(api.Opened{ID: 1, Epoch: 1}, 1, "b"))
		x.waits()
		a.producer(id, "p")
		b.view.thaw()
		<-x.done
		elsewhere(g, x.err, "a")
		require.Len(g, g.chains("b"), 2)
		time.Sleep(5 * time.Minute)
		require.Len(g, g.chains("b"), 1)
		require.NoError(g, a.Delete(g.Context(), id))
		time.Sleep(time.Second)
		require.Len(g, g.chains("a"), 1)
	}, "a", "b")
}

// TestRestartSealsAll: a node that crashed with several chains seals all of them
// before it writes again; what was acknowledged on any is there.
func TestRestartSealsAll(t *testing.T) {
	inGroup(t, func(g *group) {
		a := g.node("a")
		const logs = 12
		var ids []fragment.LogID
		var producers []api.Opened
		for i := range logs {
			id := g.create(fmt.Sprint("x", i), api.LogConfig{Dedicated: i > 0})
			ids, producers = append(ids, id), append(producers, a.producer(id, "p"))
			a.send(id, batch(producers[i], 1, "one")).at(1)
		}
		before := g.chains("a")
		require.Len(g, before, logs)
		a.crash()
		a = g.start("a", nil)
		require.Len(g, g.chains("a"), 1)
		for i, id := range ids {
			a.send(id, batch(producers[i], 1, "one")).at(1)
			a.send(id, batch(producers[i], 2, "two")).at(2)
			require.Equal(g, []string{"one", "two"}, g.contents(id))
		}
	}, "a")
}

// TestSharedBuffer: all chains of a node share one bound for what is not durable
// yet.
func TestSharedBuffer(t *testing.T) {
	inGroup(t, func(g *group) {
		a := g.node("a")
		one, two := g.create("one", api.LogConfig{Dedicated: true}), g.create("two", api.LogConfig{Dedicated: true})
		o, p := a.producer(one, "p"), a.producer(two, "p")
		held := a.faults.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: "chains/", Hang: true})
		large := string(make([]byte, 1<<20-1000))
		var all []*sending
		for i := range uint64(23) {
			x := a.send(one, batch(o, i+1, large))
			x.waits()
			all = append(all, x)
		}
		require.EqualValues(g, 23, a.Stats().InFlightBytes>>20+1)
		x, y := a.send(two, batch(p, 1, large)), a.send(two, batch(p, 2, "small"))
		synctest.Wait()
		require.EqualValues(g, 23, a.Stats().InFlightBytes>>20, "one more, and no room for the next")
		held.Release()
		for i, x := range all {
			x.at(fragment.LSN(i) + 1)
		}
		<-x.done
		<-y.done
	}, "a")
}

// TestOrphanedGrant: a chain that was granted, and that the node did not hear
// of, is sealed soon: nothing is ever written to it.
func TestOrphanedGrant(t *testing.T) {
	inGroup(t, func(g *group) {
		a := g.node("a")
		id := g.create("x", api.LogConfig{Dedicated: true})
		all := []trouble{lost, late}
		a.view.strike(func(c *fsmpb.Command) (how trouble) {
			if c.GetGrantChain() != nil && len(all) > 0 {
				how, all = all[0], all[1:]
			}
			return how
		})
		for range 2 {
			_, err := a.OpenProducer(g.Context(), api.OpenRequest{Log: id})
			require.ErrorIs(g, err, api.ErrUnavailable)
		}
		a.view.release()
		require.EqualValues(g, 2, a.view.struck.Load())
		a.producer(id, "p")
		synctest.Wait()
		time.Sleep(time.Second)
		require.Len(g, g.chains("a"), 2)
		g.of("a", id)
	}, "a")
}
