package rawlimit_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/blobstore/rawlimit"
)

func TestRun(t *testing.T) {
	mem := blobtest.NewMem()
	bucket := blobstore.New(mem, blobstore.Options{})
	mem.Put("x/other", []byte("somebody else's"))
	l := rawlimit.New(bucket, "x/1/", 7)
	for _, c := range []struct {
		run  rawlimit.Run
		want int
	}{
		{rawlimit.Run{ObjectBytes: 1, Concurrency: 1, Objects: 3}, 3},
		{rawlimit.Run{ObjectBytes: 63, Concurrency: 8, Objects: 5}, 5},
		{rawlimit.Run{ObjectBytes: 1000, Concurrency: 4, Objects: 20}, 20},
		{rawlimit.Run{ObjectBytes: 64, Concurrency: 1, Objects: 1000, ObjectsMin: 4, For: time.Nanosecond}, 4},
		{rawlimit.Run{ObjectBytes: rawlimit.ObjectBytesMax, Concurrency: 2, Objects: 2}, 2},
	} {
		before := len(mem.Keys("x/1/"))
		r, err := l.Run(t.Context(), c.run)
		require.NoError(t, err)
		require.Len(t, r.Creates, c.want)
		require.EqualValues(t, c.want*c.run.ObjectBytes, r.Bytes)
		require.Positive(t, r.Took)
		require.Len(t, mem.Keys("x/1/"), before+c.want)
	}
	one, _ := mem.Object("x/1/00000009")
	another, _ := mem.Object("x/1/00000010")
	require.Len(t, one, 1000)
	require.NotEqual(t, one, another, "objects differ")

	require.NoError(t, l.Remove(t.Context(), 4))
	require.Equal(t, []string{"x/other"}, mem.Keys(""))
	_, err := l.Run(t.Context(), rawlimit.Run{ObjectBytes: 1, Concurrency: 1, Objects: 1})
	require.NoError(t, err)
	require.Equal(t, []string{"x/1/00000035", "x/other"}, mem.Keys(""), "no key is used again")
	require.NoError(t, l.Remove(t.Context(), 4))
	require.Equal(t, []string{"x/other"}, mem.Keys(""))
}

// A sweep removes what has the prefix, and nothing else; also where it was cut
// short before.
func TestSweep(t *testing.T) {
	mem := blobtest.NewMem()
	faults := blobtest.NewFaults(mem)
	bucket := blobstore.New(faults, blobstore.Options{MaxAttempts: 1})
	for i := range 30 {
		mem.Put(fmt.Sprintf("scratch/a-%02d", i), []byte("left"))
	}
	mem.Put("scratch/b-00", []byte("another's"))
	mem.Put("scratch", []byte("another's"))
	rule := faults.Add(blobtest.Fault{Kind: blobtest.Delete, Skip: 10, Before: blobtest.ErrFault})
	_, err := rawlimit.Sweep(t.Context(), bucket, "scratch/a-", 1)
	require.ErrorIs(t, err, blobtest.ErrFault)
	require.Len(t, mem.Keys("scratch/a-"), 20)
	rule.Remove()
	n, err := rawlimit.Sweep(t.Context(), bucket, "scratch/a-", 4)
	require.NoError(t, err)
	require.Equal(t, 20, n)
	n, err = rawlimit.Sweep(t.Context(), bucket, "scratch/a-", 4)
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, []string{"scratch", "scratch/b-00"}, mem.Keys(""))
	rule = faults.Add(blobtest.Fault{Kind: blobtest.List, Before: blobtest.ErrFault})
	_, err = rawlimit.Sweep(t.Context(), bucket, "scratch/", 4)
	require.ErrorIs(t, err, blobtest.ErrFault)
	rule.Remove()
}

// What a run that failed has made is removed all the same.
func TestRunFails(t *testing.T) {
	mem := blobtest.NewMem()
	bucket := blobstore.New(mem, blobstore.Options{})
	mem.Put("x/00000003", []byte("in the way"))
	l := rawlimit.New(bucket, "x/", 7)
	_, err := l.Run(t.Context(), rawlimit.Run{ObjectBytes: 100, Concurrency: 1, Objects: 5})
	there, ok := errors.AsType[*blobstore.ExistsError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "x/00000003", there.Key)
	require.Len(t, mem.Keys("x/"), 3)
	require.NoError(t, l.Remove(t.Context(), 1))
	require.Empty(t, mem.Keys(""))
}
