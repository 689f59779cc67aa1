package rawlimit_test

import (
	"errors"
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
