package node

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// TestLanes: what waits for something of its own log holds up what comes behind
// it, and no other log.
func TestLanes(t *testing.T) {
	var l lanes
	l.init()
	stuck, order := make(chan struct{}), make(chan string, 4)
	put := func(log fragment.LogID, do func()) { require.NoError(t, l.put(t.Context(), log, 10, do)) }
	require.False(t, l.hold(1))
	put(1, func() {
		<-stuck
		order <- "first"
	})
	put(1, func() { order <- "second" })
	put(1, func() { order <- "third" })
	require.True(t, l.hold(1))
	require.False(t, l.hold(2))
	put(2, func() { order <- "other" })
	require.Equal(t, "other", <-order)
	close(stuck)
	for _, want := range []string{"first", "second", "third"} {
		require.Equal(t, want, <-order)
	}
	l.wait()
	require.False(t, l.hold(1))
	require.Empty(t, l.all)
	require.Zero(t, l.count.Load())
}

// TestLanesBounded: so much waits, and no more; then who brings more waits.
func TestLanesBounded(t *testing.T) {
	var l lanes
	l.init()
	stuck := make(chan struct{})
	for i := range laneBytesMax / laneCost {
		require.NoError(t, l.put(t.Context(), fragment.LogID(i+1), 1, func() { <-stuck }))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := l.put(ctx, 1, 1, func() { t.Error("it was not taken") })
	require.ErrorIs(t, err, api.ErrUnavailable)
	require.ErrorIs(t, err, context.Canceled)
	close(stuck)
	l.wait()
	done := make(chan struct{})
	require.NoError(t, l.put(t.Context(), 1, 2*laneBytesMax, func() { close(done) }), "a large one goes alone")
	<-done
	l.wait()
}

// TestRouteTryEnter: a log's batches that are under way to another node are not
// overtaken, and nobody waits for that here.
func TestRouteTryEnter(t *testing.T) {
	var r routes
	r.init(func(string) { t.Error("no connection is dropped") })
	require.True(t, r.tryEnter(1, "b"))
	require.True(t, r.tryEnter(1, "b"))
	require.False(t, r.tryEnter(1, "c"))
	require.False(t, r.tryEnter(1, ""))
	require.True(t, r.tryEnter(2, ""))
	r.leave(1)
	require.False(t, r.tryEnter(1, ""))
	r.leave(1)
	require.True(t, r.tryEnter(1, ""))
	require.True(t, r.tryEnter(1, "c"))
	r.leave(1)
	require.Empty(t, r.all)
}
