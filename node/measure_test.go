package node_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
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
