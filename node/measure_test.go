package node_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/rpc/client"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/offline"
)

// TestMeasureLeavesNothing: what measurements made is gone after whatever ends
// them: the node that closes, and, where it died or could not reach its bucket,
// its next start or measurement. What others made stays.
func TestMeasureLeavesNothing(t *testing.T) {
	w, mem := newWorld(t)
	w.Config.AllowBench = true
	mem.Put("scratch/another-0123-00000001", []byte("another node's"))
	scratch := func() (own []string) {
		for _, key := range mem.Keys("scratch/") {
			if !strings.HasPrefix(key, "scratch/another") {
				own = append(own, key)
			}
		}
		return own
	}
	ten := &adminv1.MeasureRawRequest{ObjectBytes: 100, Concurrency: 2, Objects: 10}

	p := start(t, w)
	m, err := p.Node.MeasureRaw(t.Context())
	require.NoError(t, err)
	_, err = m.Measure(t.Context(), ten)
	require.NoError(t, err)
	require.Len(t, scratch(), 10)
	stop(t, p)
	require.Empty(t, scratch(), "the node has closed")
	m.End() // no harm

	p = start(t, w)
	m, err = p.Node.MeasureRaw(t.Context())
	require.NoError(t, err)
	_, err = m.Measure(t.Context(), ten)
	require.NoError(t, err)
	crash(t, w, p)
	require.Len(t, scratch(), 10)
	p = start(t, w)
	require.Eventually(t, func() bool { return len(scratch()) == 0 }, 10*time.Second, time.Millisecond, "the node has started")

	m, err = p.Node.MeasureRaw(t.Context())
	require.NoError(t, err)
	_, err = m.Measure(t.Context(), ten)
	require.NoError(t, err)
	rule := p.Faults.Add(blobtest.Fault{Kind: blobtest.Delete, Prefix: "scratch/", Before: blobtest.ErrFault})
	m.End()
	require.NotEmpty(t, scratch(), "they can't be removed")
	rule.Remove()
	m, err = p.Node.MeasureRaw(t.Context())
	require.NoError(t, err)
	require.Empty(t, scratch(), "the next has begun")
	m.End()
	require.Len(t, mem.Keys("scratch/"), 1)
	stop(t, p)
}

// TestMeasureLeavesTime: a node that closes while what was measured is being
// removed, from a store that hangs, ends its chain all the same.
func TestMeasureLeavesTime(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w, mem := newWorld(t)
		w.Network = &testcluster.Network{}
		w.Config.AllowBench = true
		p := start(t, w)
		put(t, openWriter(t, create(t, p, "a")), "x")
		a, err := client.DialAdmin(t.Context(), client.Config{Addrs: []string{"node:1"}, Dialer: w.Network.DialContext})
		require.NoError(t, err)
		m, err := a.MeasureRaw(t.Context())
		require.NoError(t, err)
		_, err = m.Measure(t.Context(), &adminv1.MeasureRawRequest{ObjectBytes: 100, Concurrency: 2, Objects: 10})
		require.NoError(t, err)
		rule := p.Faults.Add(blobtest.Fault{Kind: blobtest.Delete, Prefix: "scratch/", Hang: true})
		closed := make(chan error, 1)
		go func() { closed <- m.Close() }()
		require.NoError(t, rule.Wait(t.Context(), 1))
		stop(t, p)
		rule.Release()
		<-closed // it says nothing of what is left
		require.NoError(t, a.Close())
		require.Len(t, mem.Keys("scratch/"), 10)
		r, err := offline.Verify(t.Context(), blobstore.New(w.Raw, blobstore.Options{}), offline.VerifyOptions{})
		require.NoError(t, err)
		require.True(t, r.OK(), "%v", r.Problems)
	})
}

// TestMeasureKeepsSoMany: what measurements have made is removed before it is too
// many objects, however small they are.
func TestMeasureKeepsSoMany(t *testing.T) {
	w, mem := newWorld(t)
	w.Config.AllowBench = true
	p := start(t, w)
	m, err := p.Node.MeasureRaw(t.Context())
	require.NoError(t, err)
	measure := func(objects uint32) (removed uint64) {
		t.Helper()
		r, err := m.Measure(t.Context(), &adminv1.MeasureRawRequest{ObjectBytes: 2, Concurrency: 4, Objects: objects})
		require.NoError(t, err)
		return r.GetRemovedBytes()
	}
	require.Zero(t, measure(10))
	node.SetMeasured(m, 64<<10-20)
	require.Zero(t, measure(20))
	require.Len(t, mem.Keys("scratch/"), 30)
	require.EqualValues(t, 2*30, measure(1))
	require.Len(t, mem.Keys("scratch/"), 1)
	require.Zero(t, measure(20), "it counts anew")
	m.End()
	require.Empty(t, mem.Keys("scratch/"))
	stop(t, p)
}
