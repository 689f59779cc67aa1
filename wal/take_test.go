package wal_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/wal/api"
)

// TestProducersOfATakenLog: a log that a node has taken, or that was attached for
// a producer without a name, has nothing durable on its chain until something is
// appended, to whatever log. Every node tells of its producers all the same.
func TestProducersOfATakenLog(t *testing.T) {
	inGroup(t, func(g *group) {
		a, b, c := g.node("a"), g.node("b"), g.node("c")
		ctx := g.Context()
		id := g.create("x", api.LogConfig{})
		w := a.writer(id)
		w.puts(3)
		want, err := a.Producer(ctx, id, "w")
		require.NoError(g, err)
		require.NoError(g, a.Release(ctx, id))
		require.NoError(g, b.Take(ctx, id))
		require.Equal(g, "b", g.owner(id))
		blank := g.create("y", api.LogConfig{})
		b.producer(blank, "")
		synctest.Wait()
		nothing := func() { require.Equal(g, "none", g.kind(g.only("b").Epoch, 1), "something is durable on the chain") }
		nothing()
		for _, m := range []*member{c, a} {
			p, err := m.Producer(ctx, id, "w")
			require.NoError(g, err)
			require.Equal(g, want, p)
			all, err := m.Producers(ctx, id, "", 0)
			require.NoError(g, err)
			require.Equal(g, []api.ProducerInfo{want}, all)
			all, err = m.Producers(ctx, blank, "", 0)
			require.NoError(g, err)
			require.Empty(g, all)
			_, err = m.Producer(ctx, blank, "w")
			require.ErrorIs(g, err, api.ErrNotFound)
		}
		nothing()
		w.at(b)
		w.put("more")
		p, err := c.Producer(ctx, id, "w")
		require.NoError(g, err)
		require.EqualValues(g, 4, p.Last)
	}, "a", "b", "c")
}
