package wal_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
	"github.com/wpd-io/wpd/wal/api"
)

// TestDelete: a log is deleted by who writes it; nothing that comes later is
// acknowledged, by nobody, whether or not the name is taken again.
func TestDelete(t *testing.T) {
	inGroup(t, func(g *group) {
		a, b := g.node("a"), g.node("b")
		id := g.create("x", api.LogConfig{})
		o := a.producer(id, "p")
		a.send(id, batch(o, 1, "one")).at(1)
		elsewhere(g, b.Delete(g.Context(), id), "a")
		held := a.holdFrom(g.only("a").Epoch, 1)
		two := a.send(id, batch(o, 2, "two"))
		two.waits()
		require.NoError(g, a.Delete(g.Context(), id))
		again := g.create("x", api.LogConfig{})
		for _, m := range []*member{a, b} {
			m.send(id, batch(o, 3, "three")).is(api.ErrDeleted)
			m.send(id, batch(o, 1, "one")).is(api.ErrDeleted)
			require.ErrorIs(g, m.Delete(g.Context(), id), api.ErrDeleted)
		}
		held.Release()
		two.at(2) // it was there before
		p := b.producer(again, "p")
		b.send(again, batch(p, 1, "new")).at(1)
		require.NoError(g, a.Release(g.Context(), again))
		require.Equal(g, "b", g.owner(again))
	}, "a", "b")
}

// TestDeleteOfNobodysLog: any node deletes a log that nobody writes. If another
// attaches it meanwhile, that one has to know before the caller does.
func TestDeleteOfNobodysLog(t *testing.T) {
	inGroup(t, func(g *group) {
		a, b := g.node("a"), g.node("b")
		id := g.create("x", api.LogConfig{})
		o := a.producer(id, "p")
		require.NoError(g, a.Release(g.Context(), id))
		require.NoError(g, b.Delete(g.Context(), id))
		a.send(id, batch(o, 1, "one")).is(api.ErrDeleted)

		id = g.create("y", api.LogConfig{})
		b.view.freeze()
		o = a.producer(id, "p")
		a.view.freeze()
		done := make(chan error, 1)
		go func() { done <- b.Delete(g.Context(), id) }()
		synctest.Wait()
		require.Empty(g, done)
		a.send(id, batch(o, 1, "one")).at(1) // deleted, but nobody was told so
		b.view.thaw()
		elsewhere(g, <-done, "a")
		a.view.thaw()
		require.ErrorIs(g, a.Delete(g.Context(), id), api.ErrDeleted)
		a.send(id, batch(o, 2, "two")).is(api.ErrDeleted)
	}, "a", "b")
}

// TestDeleteUnderAZombie: a log is deleted after its writer was replaced, and
// created again. The one that was replaced acknowledges nothing more to it.
func TestDeleteUnderAZombie(t *testing.T) {
	inGroup(t, func(g *group) {
		a, b := g.node("a"), g.node("b")
		id := g.create("x", api.LogConfig{})
		o := a.producer(id, "p")
		a.send(id, batch(o, 1, "one")).at(1)
		held := a.holdFrom(g.only("a").Epoch, 1)
		a.view.freeze()
		two := a.send(id, batch(o, 2, "two"))
		two.waits()
		g.takeOver("a", b)
		require.NoError(g, b.Delete(g.Context(), id))
		again := g.create("x", api.LogConfig{})
		p := b.producer(again, "p")
		b.send(again, batch(p, 1, "new")).at(1)
		three := a.send(id, batch(o, 3, "three"))
		three.waits()
		held.Release()
		two.is(api.ErrMoved)
		three.is(api.ErrMoved)
		retry := a.send(id, batch(o, 1, "one"))
		retry.waits()
		a.view.thaw()
		retry.is(api.ErrDeleted)
		require.Equal(g, []string{"new"}, g.contents(again))
	}, "a", "b")
}

// TestDeleteOutcomeLost: a log whose deletion was not heard of is deleted all the
// same, and nothing is acknowledged to it.
func TestDeleteOutcomeLost(t *testing.T) {
	for _, how := range []trouble{lost, late} {
		inGroup(t, func(g *group) {
			a := g.node("a")
			id := g.create("x", api.LogConfig{})
			o := a.producer(id, "p")
			a.view.strikeFirst(1, how, func(c *fsmpb.Command) bool { return c.GetDeleteLog() != nil })
			require.NoError(g, a.Delete(g.Context(), id))
			a.send(id, batch(o, 1, "one")).is(api.ErrDeleted)
			a.view.release()
			require.EqualValues(g, 1, a.view.struck.Load())
		}, "a", "b")
	}
}

// TestDeleteNotDone: a deletion that surely was not done is not tried again, least
// of all when its caller has stopped waiting: the log goes on at once.
func TestDeleteNotDone(t *testing.T) {
	for _, how := range []trouble{notDone, leaderless} {
		inGroup(t, func(g *group) {
			a := g.node("a")
			id := g.create("x", api.LogConfig{})
			o := a.producer(id, "p")
			a.view.strike(func(c *fsmpb.Command) trouble { return map[bool]trouble{true: how}[c.GetDeleteLog() != nil] })
			ctx, cancel := context.WithTimeout(g.Context(), time.Second)
			defer cancel()
			begin := time.Now()
			err := a.Delete(ctx, id)
			require.ErrorIs(g, err, api.ErrUnavailable)
			require.NotErrorIs(g, err, api.ErrUncertain)
			require.EqualValues(g, 1, a.view.struck.Load(), "it was tried again")
			require.LessOrEqual(g, time.Since(begin), time.Second)
			require.NoError(g, a.Release(g.Context(), id), "the gate is free")
			a.send(id, batch(o, 1, "one")).at(1)
			a.view.strike(nil)
			require.NoError(g, a.Delete(g.Context(), id))
		}, "a", "b")
	}
}

// TestHeardOfConfiguration: who writes a log hears of what others configure and
// delete.
func TestHeardOfConfiguration(t *testing.T) {
	inGroup(t, func(g *group) {
		a, b := g.node("a"), g.node("b")
		id := g.create("x", api.LogConfig{})
		o := a.producer(id, "p")
		large := string(make([]byte, 5<<20))
		require.NotNil(g, failsAs[*api.LimitError](a.send(id, batch(o, 1, large))))
		info, err := b.Lookup(g.Context(), "x")
		require.NoError(g, err)
		g.meta.must(g, fsm.NewConfigureLog(id, info.ConfigVersion, fsm.LogConfig{EntryBytesMax: 8 << 20}))
		a.send(id, batch(o, 1, large)).at(1) // at once: before it refuses, it asks
		require.Equal(g, info.ConfigVersion+1, func() uint64 { i, _ := a.Info(g.Context(), id); return i.ConfigVersion }())
	}, "a", "b")
}
