package segment

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// watcher is a follower, and what it told.
type watcher struct {
	*Follower

	mu     sync.Mutex
	ends   map[stay]fragment.LSN // the highest that Durable was called with
	resets int
}

func newWatcher(c Chain, cuts []Cut) *watcher {
	w := &watcher{ends: make(map[stay]fragment.LSN)}
	w.Follower = NewFollower(c, cuts, FollowerOptions{
		Durable: func(ends []fragment.End) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, e := range ends {
				w.ends[stay{e.Log, e.Attachment}] = max(w.ends[stay{e.Log, e.Attachment}], e.LSN)
			}
		},
		Reset: func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.resets++
		},
	})
	return w
}

// follow feeds a follower until ctx ends, or the feed does.
func (f *watcher) follow(ctx context.Context, w *Writer) error {
	f.Begin(time.Now())
	return w.Feed(ctx, func(frame []byte) error {
		if len(frame) > FeedFrameMax {
			return fmt.Errorf("a frame of %d bytes", len(frame))
		}
		_, err := f.Take(frame, time.Now())
		return err
	})
}

func requireState(t testing.TB, want, got fragment.LogState) {
	t.Helper()
	requireSame(t, &fragment.Index{States: []fragment.LogState{want}}, &fragment.Index{States: []fragment.LogState{got}})
}

// requireFollows checks that a follower shows of a chain what its writer does.
func requireFollows(t testing.TB, s *store, w *Writer, f *watcher) {
	t.Helper()
	require.Equal(t, w.Durable(), f.Durable())
	r := NewReader(s, NewCache(1<<20))
	defer r.Close()
	have, want := View{Chain: testChain, Open: f}, View{Chain: testChain, Open: w}
	logs := make(map[fragment.LogID]bool)
	w.segment.mu.RLock()
	for _, m := range []*tally{w.segment.fresh, w.segment.cutting, {states: w.segment.base}} {
		if m != nil {
			for log := range m.states {
				logs[log] = true
			}
		}
	}
	w.segment.mu.RUnlock()
	for log := range logs {
		ws, ok, err := r.State(t.Context(), want, log)
		require.NoError(t, err)
		require.True(t, ok)
		fs, ok, err := r.State(t.Context(), have, log)
		require.NoError(t, err)
		require.True(t, ok, "log %d", log)
		requireState(t, ws, fs)
		k := Stay{Log: log, Attachment: ws.Attachment, First: 1}
		for lsn := fragment.LSN(1); ; {
			wr, err := r.Rows(t.Context(), want, k, lsn, 7)
			require.NoError(t, err)
			fr, err := r.Rows(t.Context(), have, k, lsn, 7)
			require.NoError(t, err)
			if len(wr) == 0 || len(fr) == 0 {
				require.Equal(t, len(wr), len(fr), "log %d LSN %d", log, lsn)
				break
			}
			n := min(len(wr), len(fr)) // a call ends at a cut, which one may know and the other not
			require.Equal(t, wr[:n], fr[:n])
			lsn = wr[n-1].End()
		}
	}
}

// TestFollowersShowWhatTheWriterDoes: followers that begin at any moment, a cut
// under way included, and whose feeds break and begin again, show the rows, the
// cuts and the states that the writer has, and are told of every end.
func TestFollowersShowWhatTheWriterDoes(t *testing.T) {
	r, _ := newRand(t)
	for range 20 {
		bubble.Test(t, func(t *testing.T) {
			s, made := newStore(), &commits{}
			made.fail = func(n int) error {
				if n%3 == 1 {
					return errors.New("no leader") // so that a cut stands for a while
				}
				return nil
			}
			w := create(t, s, Options{Commit: made.commit, CutFragments: 1 + r.Uint64N(40), FragmentBytes: 4 << 10})
			defer w.Close(context.Background())
			a := newAppender(t, w)
			var followers []*watcher
			var wg sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			begin := func(f *watcher) {
				ctx, broken := context.WithTimeout(ctx, time.Duration(r.Int64N(int64(5*time.Second))))
				_ = broken // by its time
				wg.Go(func() {
					for ctx.Err() == nil {
						if err := f.follow(ctx, w); ctx.Err() == nil {
							t.Error(err)
							return
						}
					}
					if err := f.follow(context.Background(), w); w.Err() == nil {
						t.Error("a feed of a living chain ended", err)
					}
				})
			}
			for i := range 150 {
				for range 1 + r.IntN(3) {
					log := fragment.LogID(1 + r.IntN(5))
					a.add(log, r.IntN(300))
				}
				if r.IntN(10) == 0 {
					_, err := w.Note(nil, fragment.LogState{Log: 9, Attachment: 9, End: 1,
						Producers: []fragment.ProducerState{{ID: fragment.ProducerID(1 + r.IntN(3)), Name: "p", Epoch: fragment.ProducerEpoch(1 + i)}}})
					require.NoError(t, err)
				}
				if r.IntN(20) == 0 {
					f := newWatcher(testChain, made.all()[:r.IntN(len(made.all())+1)])
					followers = append(followers, f)
					begin(f)
				}
				require.NoError(t, w.Flush(t.Context()))
				if r.IntN(3) == 0 {
					time.Sleep(time.Duration(r.Int64N(int64(500 * time.Millisecond))))
				}
				if r.IntN(15) == 0 {
					synctest.Wait()
					for _, f := range followers {
						if r.IntN(3) == 0 {
							f.Committed(made.all())
						}
						requireFollows(t, s, w, f)
					}
				}
			}
			time.Sleep(10 * time.Second) // all have broken once, and cuts are made
			synctest.Wait()
			for _, f := range followers {
				requireFollows(t, s, w, f)
				require.Equal(t, w.Cuts(), f.Cuts())
				require.Positive(t, f.resets)
				at, _, known := f.Current()
				require.True(t, known)
				require.LessOrEqual(t, time.Since(at), feedEvery)
			}
			for log := range a.sent {
				a.add(log, 10)
			}
			require.NoError(t, w.Flush(t.Context()))
			synctest.Wait()
			for _, f := range followers {
				for log, next := range a.next {
					require.Equal(t, next, f.ends[stay{log, fragment.Attachment(log)}])
				}
			}
			require.NoError(t, w.Close(t.Context()))
			wg.Wait()
			cancel()
			require.Empty(t, w.segment.feeds)
		})
	}
}

// TestIdleFeed: a feed without news is a message every ten seconds, and asks
// nothing of the store.
func TestIdleFeed(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		w := create(t, s, Options{})
		a := newAppender(t, w)
		x, _ := a.add(1, 10)
		require.NoError(t, x.wait())
		f := newWatcher(testChain, nil)
		f.Begin(time.Now())
		var kinds []byte
		ended := make(chan error)
		go func() {
			ended <- w.Feed(t.Context(), func(frame []byte) error {
				kinds = append(kinds, frame[0])
				_, err := f.Take(frame, time.Now())
				return err
			})
		}()
		before := s.Count(blobtest.Any)
		for range 60 {
			time.Sleep(feedEvery)
			synctest.Wait()
			at, _, _ := f.Current()
			require.Zero(t, time.Since(at))
		}
		require.Equal(t, before, s.Count(blobtest.Any))
		want := []byte{feedOpening, feedPart, feedReady}
		for range 60 {
			want = append(want, feedAlive)
		}
		require.Equal(t, want, kinds)
		require.NoError(t, w.Close(t.Context()))
		require.ErrorIs(t, <-ended, ErrClosed)
	})
}

// TestSlowFeed: a reader that does not keep up costs a bounded number of bytes,
// hears that it is too slow, and can begin again; nobody else waits for it.
func TestSlowFeed(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		w := create(t, s, Options{})
		a := newAppender(t, w)
		stuck, ended := make(chan struct{}), make(chan error)
		f := newWatcher(testChain, nil)
		f.Begin(time.Now())
		go func() {
			ended <- w.Feed(t.Context(), func(frame []byte) error {
				if frame[0] == feedFragment {
					<-stuck
				}
				_, err := f.Take(frame, time.Now())
				return err
			})
		}()
		most, slow := 0, 0
		for slow < 10 {
			x, _ := a.add(1, 10)
			require.NoError(t, x.wait(), "appends go on")
			w.segment.mu.RLock()
			for q := range w.segment.feeds {
				if most = max(most, len(q.frames)); q.slow {
					require.Empty(t, q.frames)
					slow++
				}
			}
			w.segment.mu.RUnlock()
		}
		require.Equal(t, feedFramesMax, most)
		close(stuck)
		require.ErrorIs(t, <-ended, ErrSlow)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, f.follow(ctx, w), context.DeadlineExceeded)
		requireFollows(t, s, w, f)
		require.NoError(t, w.Close(t.Context()))
	})
}

// TestFeedBounds: the bytes that wait are bounded too, and so is the number of
// feeds.
func TestFeedBounds(t *testing.T) {
	f := &feed{news: make(chan struct{}, 1)}
	f.put([][]byte{make([]byte, feedBytesMax)})
	require.False(t, f.slow)
	f.put([][]byte{make([]byte, 1)})
	require.True(t, f.slow)
	require.Empty(t, f.frames)
	f.put([][]byte{make([]byte, 1)})
	require.Empty(t, f.frames)

	w := create(t, newStore(), Options{})
	for range feedsMax {
		_, _, err := w.segment.watch()
		require.NoError(t, err)
	}
	require.ErrorIs(t, w.Feed(t.Context(), nil), ErrFeeds)
	require.NoError(t, w.Close(t.Context()))
}

func manyProducers(log fragment.LogID) fragment.LogState {
	state := fragment.LogState{Log: log, Attachment: fragment.Attachment(log), End: 1}
	for i := range 4000 {
		p := fragment.ProducerState{ID: fragment.ProducerID(i + 1), Name: fmt.Sprintf("%0250d", i), Epoch: 1}
		for j := range 30 {
			p.Batches = append(p.Batches, fragment.StoredBatch{First: uint64(1 + j), Count: 1, From: fragment.LSN(1e6 * j), Sum: uint32(i * j), Time: now()})
		}
		state.Producers = append(state.Producers, p)
	}
	return state
}

// TestLargeFeed: what is larger than a frame comes in several: the producers of
// a log that is there already, and a fragment that notes as many.
func TestLargeFeed(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		w := create(t, s, Options{})
		note := func(log fragment.LogID) {
			_, err := w.Note(nil, manyProducers(log))
			require.NoError(t, err)
			require.NoError(t, w.Flush(t.Context()))
		}
		note(3)
		f := newWatcher(testChain, nil)
		f.Begin(time.Now())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		frames := make(map[byte]int)
		go func() {
			ended <- w.Feed(ctx, func(frame []byte) error {
				if len(frame) > FeedFrameMax {
					t.Error("a frame is too large")
				}
				frames[frame[0]]++
				_, err := f.Take(frame, time.Now())
				return err
			})
		}()
		synctest.Wait()
		requireFollows(t, s, w, f)
		require.Greater(t, frames[feedPart], 2)
		note(4)
		synctest.Wait()
		require.Greater(t, frames[feedFragment], 2)
		requireFollows(t, s, w, f)
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.NoError(t, w.Close(t.Context()))
	})
}

// TestParts: the parts of an index fit a frame, also if every number in it is
// as long as can be, and together they are the index.
func TestParts(t *testing.T) {
	whole := newTally(1)
	for i := range fragment.LSN(200_000) {
		whole.addRow(stay{fragment.LogID(1 + i%3), 1}, fragment.Row{N: 1 + uint64(i), First: 1 + i<<30, Count: 1 << 20, Offset: 8 << 20, Length: 8 << 20, TimeMin: fragment.Micros(i%2) << 62, TimeMax: fragment.Micros(i%2) << 62})
	}
	for log := range fragment.LogID(40) {
		s := manyProducers(log + 1)
		s.Producers = s.Producers[:1000]
		whole.addStates([]fragment.LogState{s})
	}
	for log := range fragment.LogID(50_000) {
		whole.addStates([]fragment.LogState{{Log: 1e6 + log, Attachment: 1 << 63, End: 1 << 63, Time: 1 << 62}})
	}
	whole.to = 200_001
	h := newFollowed(testChain.Epoch, nil)
	n := 0
	for part := range parts(whole.index()) {
		got := partMessage(1<<62, testChain, part)
		require.Len(t, got, 1, "it fits")
		n++
		o, err := fragment.Decode(got[0][frameHead+9:])
		require.NoError(t, err)
		require.NoError(t, h.add(o.Directory.Index))
	}
	require.Greater(t, n, 20)
	requireSame(t, whole.index(), h.found.tally.index())
	for range parts(whole.index()) {
		break // nobody wants more
	}
}
