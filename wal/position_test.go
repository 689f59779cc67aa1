package wal_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/wal/api"
)

// TestTrimmedBeforeHeardOf: that a log was trimmed, the metadata tell at once, and
// that what was trimmed was durable, the feed, in its time. A follower that has
// heard of the one alone takes the trim point for the tail.
func TestTrimmedBeforeHeardOf(t *testing.T) {
	inGroup(t, func(g *group) {
		a, b := g.node("a"), g.node("b")
		ctx := g.Context()
		id := g.create("x", api.LogConfig{})
		w := a.writer(id)
		w.puts(5)
		require.Equal(g, w.all, b.all(id, api.Level{}))
		g.wires.hold("b", "a")
		w.puts(10)
		require.NoError(g, a.Trim(ctx, id, 12))

		info, err := b.Info(ctx, id)
		require.NoError(g, err)
		require.EqualValues(g, 12, info.First)
		require.EqualValues(g, 12, info.Tail, "of the 15 entries, it has heard of 5")
		tail, err := b.Tail(ctx, id, api.Level{})
		require.NoError(g, err)
		require.EqualValues(g, 12, tail)
		var follow []api.Stream
		for _, r := range []api.ReadRequest{
			{From: api.FromTail}, {From: api.FromLast, Value: 1}, {From: api.FromLast, Value: 10}, {From: api.FromLast, Value: 60},
			{From: api.FromLSN, Value: 12}, {From: api.FromEarliest}, {From: api.FromTime},
		} {
			r.Log = id
			st, err := b.Read(ctx, r)
			require.NoError(g, err)
			require.Empty(g, words(g, st, 1, time.Second), "%+v", r)
			require.NoError(g, st.Close())
			r.Follow = true
			st, err = b.Read(ctx, r)
			require.NoError(g, err)
			require.EqualValues(g, 12, st.Position(), "%+v", r)
			follow = append(follow, st)
		}
		g.wires.mend()
		for _, st := range follow {
			require.Equal(g, w.all[11:], words(g, st, 4, 10*time.Second))
			require.NoError(g, st.Close())
		}
	}, "a", "b")
}
