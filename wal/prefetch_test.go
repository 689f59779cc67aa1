package wal_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// start opens a node in memory, stopped at the end of the test.
func start(t *testing.T, c wal.Config) *testcluster.Proc {
	t.Helper()
	w := &testcluster.World{Raw: blobtest.NewMem(), Config: node.Config{Log: c}}
	p, err := w.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Stop()) })
	return p
}

// TestPrefetchTogether: two hundred readers of a log have fetched ahead no more
// than they may together, whether they stand still or the store does, and
// each of them gets everything. With a wide bound they do fetch more.
func TestPrefetchTogether(t *testing.T) {
	for _, most := range []int64{1 << 20, 1 << 40} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				p := start(t, wal.Config{FragmentBytes: 64 << 10, CacheBytes: -1, PrefetchNodeBytes: most})
				logs := p.Node.Logs()
				log, err := p.Client().Create(t.Context(), "a", wpd.LogConfig{})
				require.NoError(t, err)
				w, err := log.Writer(t.Context())
				require.NoError(t, err)
				const slices = 40
				for range slices {
					_, err := w.Append(t.Context(), make([]byte, 50_000))
					require.NoError(t, err)
				}
				require.NoError(t, w.Close())

				within := func() int64 {
					t.Helper()
					n := logs.Prefetched()
					require.LessOrEqual(t, n, most)
					require.GreaterOrEqual(t, n, int64(0))
					return n
				}
				var readers []api.Stream
				stood := false
				read := func(r api.Stream, chunks int) (got int) {
					for i := 0; i < chunks; {
						c, err := r.Next(t.Context())
						if err == io.EOF {
							break
						}
						within()
						if errors.Is(err, api.ErrUnavailable) && stood {
							continue // of what was asked for when the store stood still
						}
						require.NoError(t, err)
						got += int(c.To - c.From)
						i++
					}
					return got
				}
				for range 200 {
					r, err := logs.Read(t.Context(), api.ReadRequest{Log: log.ID()})
					require.NoError(t, err)
					readers = append(readers, r)
					require.Equal(t, 4, read(r, 4)) // on and on, so it fetches ahead
				}
				synctest.Wait()
				if n := within(); most == 1<<20 {
					require.Greater(t, n, most/2, "the bound is used")
				} else {
					require.Greater(t, n, int64(50<<20), "without it they would take much")
				}

				// The store stands still: what is asked for and not here counts.
				stood = true
				rule := p.Faults.Add(blobtest.Fault{Kind: blobtest.Read, Hang: true, Prefix: "chains/"})
				for _, r := range readers[:50] {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					for {
						if _, err := r.Next(ctx); err != nil {
							require.ErrorIs(t, err, context.DeadlineExceeded)
							break
						}
						within()
					}
					cancel()
				}
				require.Positive(t, rule.Waiting())
				for _, r := range readers[50:100] { // these leave meanwhile
					require.NoError(t, r.Close())
					require.NoError(t, r.Close())
					within()
				}
				rule.Release()
				for _, r := range readers[100:] {
					require.Equal(t, slices-4, read(r, slices))
				}
				for _, r := range readers[:50] {
					require.Positive(t, read(r, slices))
				}
				for _, r := range readers {
					require.NoError(t, r.Close())
				}
				synctest.Wait()
				require.Zero(t, logs.Prefetched(), "all is given back")
			})
		})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestFollowerHoldsNothing: a follower at the tail does not hold the fragment
// that it read last.
func TestFollowerHoldsNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := start(t, wal.Config{CacheBytes: -1})
		logs := p.Node.Logs()
		log, err := p.Client().Create(t.Context(), "a", wpd.LogConfig{})
		require.NoError(t, err)
		w, err := log.Writer(t.Context())
		require.NoError(t, err)
		_, err = w.Append(t.Context(), make([]byte, 1<<20-1000))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		const n = 50
		var followers []api.Stream
		before := heap()
		for range n {
			r, err := logs.Read(t.Context(), api.ReadRequest{Log: log.ID(), Follow: true})
			require.NoError(t, err)
			defer r.Close()
			_, err = r.Next(t.Context())
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err = r.Next(ctx)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			followers = append(followers, r)
		}
		require.Less(t, heap()-before, int64(n*64<<10))
		require.Len(t, followers, n)
	})
}

// TestProducersAndLimits: what is listed of producers is durable, and is what
// Producer says of each; limits follow the configuration.
func TestProducersAndLimits(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := start(t, wal.Config{})
		logs := p.Node.Logs()
		info, err := logs.Create(t.Context(), "a", api.LogConfig{EntryBytesMax: 1000})
		require.NoError(t, err)
		limits, err := logs.Limits(info.ID)
		require.NoError(t, err)
		require.Equal(t, fragment.Limits{EntryBytesMax: 1000}, limits)
		_, err = logs.Configure(t.Context(), info.ID, info.ConfigVersion, api.LogConfig{EntryBytesMax: 2000})
		require.NoError(t, err)
		limits, err = logs.Limits(info.ID)
		require.NoError(t, err)
		require.Equal(t, fragment.Limits{EntryBytesMax: 2000}, limits)
		_, err = logs.Limits(info.ID + 1)
		require.ErrorIs(t, err, api.ErrNotFound)

		none, err := logs.Producers(t.Context(), info.ID, "", 0)
		require.NoError(t, err)
		require.Empty(t, none)
		for i := range 5 {
			_, err := logs.OpenProducer(t.Context(), api.OpenRequest{Log: info.ID, Name: fmt.Sprint("p", 4-i)})
			require.NoError(t, err)
		}
		o, err := logs.OpenProducer(t.Context(), api.OpenRequest{Log: info.ID, Name: "p2"})
		require.NoError(t, err)
		_, err = logs.OpenProducer(t.Context(), api.OpenRequest{Log: info.ID})
		require.NoError(t, err, "an anonymous one is not listed")
		rule := p.Faults.Add(blobtest.Fault{Kind: blobtest.Create, Hang: true, Prefix: "chains/"})
		var b fragment.BatchBuilder
		require.NoError(t, b.Add(nil, []byte("x")))
		batch := b.Finish(fragment.BatchMeta{Producer: o.ID, ProducerEpoch: o.Epoch, FirstSeq: 1, LowestSeq: 1})
		require.NoError(t, logs.Append(t.Context(), api.AppendRequest{Log: info.ID, Batch: batch}, func(api.Ack, error) {}))
		synctest.Wait()
		require.Positive(t, rule.Waiting())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err = logs.Producers(ctx, info.ID, "", 0)
		cancel()
		require.ErrorIs(t, err, api.ErrUnavailable, "it rests on what is not durable")
		rule.Release()
		var names []string
		for after := ""; ; {
			page, err := logs.Producers(t.Context(), info.ID, after, 2)
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			require.LessOrEqual(t, len(page), 2)
			for _, x := range page {
				one, err := logs.Producer(t.Context(), info.ID, x.Name)
				require.NoError(t, err)
				require.Equal(t, one, x)
				names, after = append(names, x.Name), x.Name
			}
		}
		require.Equal(t, []string{"p0", "p1", "p2", "p3", "p4"}, names)
		p2, err := logs.Producers(t.Context(), info.ID, "p1", 1)
		require.NoError(t, err)
		require.EqualValues(t, 1, p2[0].Last)
		require.EqualValues(t, 1, p2[0].LastLSN)
		require.NotZero(t, p2[0].Time)
		require.NoError(t, logs.Delete(t.Context(), info.ID))
		_, err = logs.Producers(t.Context(), info.ID, "", 0)
		require.ErrorIs(t, err, api.ErrDeleted)
		_, err = logs.Limits(info.ID)
		require.ErrorIs(t, err, api.ErrDeleted)
	})
}
