package testcluster

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// leastFree is what nodes on narrow disks want to be free, in bytes.
const leastFree = 1000

// narrow is a cluster whose disks may become nearly full, and a log that is
// written to.
type narrow struct {
	*testing.T
	*Cluster
	meters meters
	free   []atomic.Uint64
	log    *wpd.Log
	writer *wpd.Writer
	next   wpd.LSN
}

func inNarrow(t *testing.T, nodes int, f func(x *narrow)) {
	bubble.Test(t, func(t *testing.T) {
		x := &narrow{T: t, meters: newMeters(nodes), free: make([]atomic.Uint64, nodes), next: 1}
		for i := range nodes {
			x.free[i].Store(2 * leastFree)
		}
		x.Cluster = New(t, nodes, WithConfig(func(i int, c *node.Config) {
			x.meters.config(i, c)
			c.MinFree, c.FreeSpace = leastFree, func(string) (uint64, error) { return x.free[i].Load(), nil }
		}))
		var err error
		x.log, err = x.Client().Create(t.Context(), "a", wpd.LogConfig{})
		require.NoError(t, err)
		x.writer, err = x.log.Writer(t.Context(), wpd.ProducerID("p"))
		require.NoError(t, err)
		x.put()
		f(x)
		require.NoError(t, x.writer.Close())
	})
}

// put appends an entry.
func (x *narrow) put() {
	x.Helper()
	x.stored(x.writer.AppendAsync(x.T.Context(), wpd.Entry{Data: fmt.Appendf(nil, "entry %d", x.next)}))
}

// stored waits until the next entry is.
func (x *narrow) stored(p *wpd.Pending) {
	x.Helper()
	ctx, cancel := context.WithTimeout(x.T.Context(), time.Minute)
	defer cancel()
	at, err := p.Wait(ctx)
	require.NoError(x, err)
	require.Equal(x, x.next, at)
	x.next++
}

// have sets how much is free at nodes, and waits until they have seen it.
func (x *narrow) have(free uint64, nodes ...int) {
	x.Helper()
	for _, i := range nodes {
		x.free[i].Store(free)
	}
	for _, i := range nodes {
		x.Await("a look at the disk", func() bool { return (x.refusal(i) == "") == (free >= leastFree) })
		require.Equal(x, free < leastFree, x.meters.sum(x, i, "wpd_cluster_disk_short") == 1)
	}
}

// refusal is why a node says that it takes no appends.
func (x *narrow) refusal(i int) string {
	x.Helper()
	s, err := x.Node(i).Node().Status(x.T.Context())
	require.NoError(x, err)
	return s.GetRefusal()
}

// waits says that an append is not answered, for a while.
func (x *narrow) waits(p *wpd.Pending) {
	x.Helper()
	select {
	case <-p.Done():
		_, err := p.Wait(x.T.Context())
		x.T.Fatalf("it was answered: %v", err)
	case <-time.After(20 * time.Second):
	}
}

// TestSpace: a node whose disk is nearly full refuses appends before it is full,
// and says so. Its clients' appends wait, and go on by themselves once there is
// room.
func TestSpace(t *testing.T) {
	inNarrow(t, 1, func(x *narrow) {
		const refused = "wpd_wal_refused_batches_total"
		require.NoError(x, x.Node(0).Node().Ready(x.T.Context()))
		x.have(leastFree-1, 0)
		require.Contains(x, x.refusal(0), "999 bytes are free, fewer than 1000")
		require.ErrorContains(x, x.Node(0).Node().Ready(x.T.Context()), "nearly full")
		before := x.meters.sum(x, 0, refused)
		p := x.writer.AppendAsync(x.T.Context(), wpd.Entry{Data: []byte("waits")})
		x.waits(p)
		require.Greater(x, x.meters.sum(x, 0, refused), before)
		tail, err := x.log.Tail(x.T.Context(), wpd.Linearizable())
		require.NoError(x, err, "reads go on")
		require.Equal(x, x.next, tail)
		x.have(2*leastFree, 0)
		x.stored(p)
		x.put()
		require.NoError(x, x.Node(0).Node().Ready(x.T.Context()))
	})
}

// TestSpaceElsewhere: what a node without room writes goes to nodes that have
// some; if none has, appends and new logs wait.
func TestSpaceElsewhere(t *testing.T) {
	inNarrow(t, 3, func(x *narrow) {
		full := x.Writer("a")
		x.have(leastFree-1, full)
		x.put()
		x.Await("another writer", func() bool { return x.Writer("a") != full })
		x.put()
		require.NotEqual(x, full, x.Leader())

		x.have(leastFree-1, x.All()...)
		p := x.writer.AppendAsync(x.T.Context(), wpd.Entry{Data: []byte("waits")})
		x.waits(p)
		other, err := x.Client().Create(x.T.Context(), "b", wpd.LogConfig{})
		if err == nil {
			ctx, cancel := context.WithTimeout(x.T.Context(), 5*time.Second)
			_, err = other.Writer(ctx, wpd.ProducerID("p"))
			cancel()
		}
		require.ErrorIs(x, err, wpd.ErrUnavailable, "nobody takes a new log")

		x.have(2*leastFree, x.All()...)
		x.stored(p)
		x.put()
	})
}
