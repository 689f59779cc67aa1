package segment

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// requireWalked checks that a follower shows all that was sent of a chain.
func requireWalked(t testing.TB, b *built, f *watcher) {
	t.Helper()
	require.Equal(t, b.n, f.Durable())
	r := NewReader(b.store, NewCache(1<<20))
	defer r.Close()
	v := View{Chain: testChain, Open: f}
	for log, sent := range b.sent {
		got, damage := readAll(t, r, v, stayOf(log), 1)
		require.Empty(t, damage)
		requireBatches(t, sent, got)
		s, ok, err := r.State(t.Context(), v, log)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, b.next[log], s.End)
		require.Equal(t, b.next[log]-1, fragment.LSN(s.Producers[0].Last))
	}
}

// TestWalk: without its writer, a follower finds in the bucket all that is
// durable, with few reads of a long chain, and knows when that was all.
func TestWalk(t *testing.T) {
	for _, n := range []int{0, 1, 5, 63, 64, 65, 300, 1000} {
		for _, cut := range []uint64{0, 50} {
			bubble.Test(t, func(t *testing.T) {
				b := build(t, n, Options{CutFragments: cut}, threeLogs)
				f := newWatcher(testChain, b.cuts)
				_, _, known := f.Current()
				require.False(t, known)
				time.Sleep(time.Hour)
				before := b.Count(blobtest.Any)
				require.NoError(t, f.Walk(t.Context(), b.store))
				require.Less(t, b.Count(blobtest.Any)-before, 24+64+n/64+40+64)
				_, at, known := f.Current()
				require.True(t, known)
				require.Zero(t, time.Since(at))
				requireWalked(t, b, f)
				for k, end := range f.ends {
					require.Equal(t, b.next[k.log], end)
				}
				if cut == 0 {
					require.Len(t, f.ends, len(b.next))
				}
				before = b.Count(blobtest.Any)
				time.Sleep(time.Hour)
				require.NoError(t, f.Walk(t.Context(), b.store))
				require.Equal(t, before+1, b.Count(blobtest.Any), "where nothing came, one read says so")
				_, at, _ = f.Current()
				require.Zero(t, time.Since(at))
			})
		}
	}
}

// TestWalkStopsAtAHole: what stands behind a hole does not count until the hole
// is filled: by the fragment, by a gap, or by the seal.
func TestWalkStopsAtAHole(t *testing.T) {
	b := build(t, 12, Options{}, threeLogs)
	late := b.object(9)
	b.mem.Lose(chainKey(9))
	f := newWatcher(testChain, nil)
	require.NoError(t, f.Walk(t.Context(), b.store))
	require.EqualValues(t, 8, f.Durable())
	require.False(t, f.Ended())

	b.mem.Put(chainKey(9), late)
	require.NoError(t, f.Walk(t.Context(), b.store))
	requireWalked(t, b, f)

	_, err := Seal(t.Context(), b.store, b.request(8))
	require.NoError(t, err)
	require.NoError(t, f.Walk(t.Context(), b.store))
	require.True(t, f.Ended())
	requireWalked(t, b, f)
	before := b.Count(blobtest.Any)
	require.NoError(t, f.Walk(t.Context(), b.store))
	require.Equal(t, before, b.Count(blobtest.Any), "nothing comes behind the end")
}

// TestWalkOverAGap: a gap is part of the chain, and what it stands for is lost;
// damage that nobody has judged yet ends a walk.
func TestWalkOverAGap(t *testing.T) {
	b := build(t, 40, Options{}, threeLogs)
	whole := b.object(30)
	b.mem.Put(chainKey(30), []byte("damaged"))
	b.mem.Lose(chainKey(20)) // fragments 28 and up say that it was durable
	f := newWatcher(testChain, nil)
	require.NoError(t, f.Walk(t.Context(), b.store))
	require.EqualValues(t, 19, f.Durable())

	r := b.request(8)
	s := &sealer{SealRequest: r, store: b.store}
	s.Logger = slog.New(slog.DiscardHandler)
	_, err := s.place(t.Context(), 20, fragment.KindGap, "of a test")
	require.NoError(t, err)
	require.ErrorIs(t, f.Walk(t.Context(), b.store), fragment.ErrCorrupt)
	require.EqualValues(t, 29, f.Durable())
	other := newWatcher(testChain, nil)
	require.ErrorIs(t, other.Walk(t.Context(), b.store), fragment.ErrCorrupt)
	require.EqualValues(t, 29, other.Durable())
	_, at, known := other.Current()
	require.True(t, known, "what lies before the damage is there")
	require.True(t, at.IsZero())

	b.mem.Put(chainKey(30), whole)
	require.NoError(t, f.Walk(t.Context(), b.store))
	require.EqualValues(t, 40, f.Durable())
	lost := whole20(b)
	reader := NewReader(b.store, nil)
	defer reader.Close()
	for log, sent := range b.sent {
		got, damage := readAll(t, reader, View{Chain: testChain, Open: f}, stayOf(log), 1)
		require.Len(t, got, len(sent)-lost[log])
		require.Len(t, damage, lost[log])
	}
}

// whole20 counts the batches of fragment 20, which threeLogs makes.
func whole20(b *built) map[fragment.LogID]int {
	lost := make(map[fragment.LogID]int)
	for _, log := range threeLogs(19) {
		lost[log] = 1
	}
	return lost
}

// TestWalkErrors: a store that does not answer fails a walk, which keeps what it
// had; and one walk waits for another, as long as its caller lets it.
func TestWalkErrors(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := build(t, 12, Options{}, threeLogs)
		f := newWatcher(testChain, nil)
		rule := b.Add(blobtest.Fault{Kind: blobtest.Read, Before: errors.New("503")})
		require.ErrorContains(t, f.Walk(t.Context(), b.store), "503")
		require.Positive(t, rule.Hits())
		_, _, known := f.Current()
		require.False(t, known)
		rule.Remove()
		hang := b.Add(blobtest.Fault{Kind: blobtest.Read, Hang: true})
		first := make(chan error)
		go func() { first <- f.Walk(t.Context(), b.store) }()
		synctest.Wait()
		require.Positive(t, hang.Waiting())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, f.Walk(ctx, b.store), context.DeadlineExceeded)
		hang.Release()
		require.NoError(t, <-first)
		requireWalked(t, b, f)
	})
}

// TestWalkAndFeedAtOnce: walks and a feed of a living writer go on at the same
// time, whichever is faster; what is shown never goes back, also when a new feed
// begins behind what a walk has found.
func TestWalkAndFeedAtOnce(t *testing.T) {
	r, _ := newRand(t)
	for range 10 {
		bubble.Test(t, func(t *testing.T) {
			s, made := newStore(), &commits{}
			s.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: fragment.ChainPrefix(testChain.Epoch), Delay: time.Millisecond})
			w := create(t, s, Options{Commit: made.commit, CutFragments: 30, FragmentBytes: 1 << 10})
			defer w.Close(context.Background())
			f := newWatcher(testChain, nil)
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			delay := time.Duration(r.Int64N(int64(5 * time.Millisecond)))
			wg.Go(func() { // breaks again and again, and is behind
				for ctx.Err() == nil {
					f.Begin(time.Now())
					n := 0
					_ = w.Feed(ctx, func(frame []byte) error {
						if n++; n > 50 {
							return errors.New("broken")
						}
						time.Sleep(delay)
						_, err := f.Take(frame, time.Now())
						return err
					})
				}
			})
			wg.Go(func() {
				for ctx.Err() == nil {
					time.Sleep(3 * time.Millisecond)
					if err := f.Walk(ctx, s); ctx.Err() == nil && err != nil {
						t.Error(err)
					}
				}
			})
			var highest uint64
			a := newAppender(t, w)
			for range 300 {
				a.add(fragment.LogID(1+r.IntN(4)), r.IntN(500))
				time.Sleep(time.Duration(r.Int64N(int64(3 * time.Millisecond))))
				n := f.Durable()
				require.GreaterOrEqual(t, n, highest)
				highest = n
			}
			require.NoError(t, w.Flush(t.Context()))
			time.Sleep(time.Minute)
			cancel()
			wg.Wait()
			f.Committed(made.all())
			requireFollows(t, s, w, f)
			for log, next := range a.next {
				require.GreaterOrEqual(t, next, f.ends[stay{log, fragment.Attachment(log)}])
			}
		})
	}
}

// TestCommittedCuts: what the metadata says of cuts is taken in: fewer and larger
// ones, and ones that hold more than was known.
func TestCommittedCuts(t *testing.T) {
	b := build(t, 200, Options{CutFragments: 50}, threeLogs)
	require.Len(t, b.cuts, 4)
	f := newWatcher(testChain, b.cuts[:1])
	require.NoError(t, f.Walk(t.Context(), b.store))
	require.Equal(t, b.cuts[:1], f.Cuts())
	require.Zero(t, f.resets)
	f.Committed(b.cuts[:3])
	require.Equal(t, b.cuts[:3], f.Cuts())
	requireWalked(t, b, f)
	f.Committed(b.cuts[:2]) // old news
	require.Equal(t, b.cuts[:3], f.Cuts())
	require.Len(t, f.have.last, 3)
	require.EqualValues(t, 151, f.have.found.tally.from)
	require.Zero(t, f.resets)

	late := newWatcher(testChain, nil)
	late.Committed(b.cuts[:3])
	require.Equal(t, 1, late.resets, "where ends are now, nobody was told")
	require.EqualValues(t, 150, late.Durable())
	require.NoError(t, late.Walk(t.Context(), b.store))
	requireWalked(t, b, late)

	var all []*fragment.Index
	for _, c := range b.cuts[:2] {
		x, err := readIndex(t.Context(), b.store, c.Index)
		require.NoError(t, err)
		all = append(all, x)
	}
	ref, err := writeIndex(t.Context(), b.store, testChain.Cluster, testChain.Epoch, joined(all))
	require.NoError(t, err)
	fewer := Cut{From: 1, To: 101, Index: ref}
	f.Committed([]Cut{fewer})
	require.Equal(t, []Cut{fewer, b.cuts[2]}, f.Cuts())
	requireWalked(t, b, f)
	f.Committed([]Cut{fewer, b.cuts[2], b.cuts[3]})
	requireWalked(t, b, f)
	require.Empty(t, f.have.last)
}
