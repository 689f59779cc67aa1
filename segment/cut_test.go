package segment

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// commits collects cuts.
type commits struct {
	mu   sync.Mutex
	cuts []Cut
	fail func(n int) error // the n-th attempt, from 0; what it says after it was applied
	n    int

	unmerged  []Cut
	merges    int
	failMerge func(n int) error // as fail, of merges
}

func (c *commits) commit(_ context.Context, x Cut) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	if last := len(c.cuts) - 1; last < 0 || c.cuts[last] != x { // an equal one is a no-op
		c.cuts, c.unmerged = append(c.cuts, x), append(c.unmerged, x)
	}
	if c.fail != nil {
		return c.fail(c.n - 1)
	}
	return nil
}

func (c *commits) all() []Cut {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.cuts)
}

func (c *commits) attempts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// requireCuts checks that cuts follow each other from 1 on, and hold what the
// chain does.
func requireCuts(t testing.TB, s *store, cuts []Cut) {
	t.Helper()
	next, base := uint64(1), (*fragment.Index)(nil)
	for i, c := range cuts {
		require.Equal(t, next, c.From)
		x, err := readIndex(t.Context(), s, c.Index)
		require.NoError(t, err)
		requireSame(t, naive(t, s, c.From, c.To, base), x, "cut", i)
		next, base = c.To, x
	}
}

func TestCutThresholds(t *testing.T) {
	cases := map[string]struct {
		opts Options
		want int // cuts of 100 fragments, made within 100 s
	}{
		"fragments": {Options{CutFragments: 10}, 10},
		"bytes":     {Options{CutBytes: 5 * (50 + 104)}, 30}, // 1.6 batches a fragment on average
		"slices":    {Options{CutSlices: 20}, 8},
		"age":       {Options{CutAge: 10 * time.Second}, 9},
		"none":      {Options{}, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				s, made := newStore(), &commits{}
				c.opts.Commit, c.opts.FlushInterval = made.commit, time.Hour
				w := create(t, s, c.opts)
				w.sent = time.Now()
				a := newAppender(t, w)
				for i := range 100 {
					appendRounds(t, w, a, 1, func(int) []fragment.LogID { return threeLogs(i) })
					time.Sleep(time.Second)
				}
				require.InDelta(t, c.want, len(made.all()), 1+float64(c.want)/4)
				requireCuts(t, s, made.all())
				require.NoError(t, w.CutNow(t.Context()))
				requireCuts(t, s, made.all())
				require.EqualValues(t, 101, made.all()[len(made.all())-1].To)
				require.Equal(t, made.all(), w.Cuts())
				require.NoError(t, w.CutNow(t.Context()))
				require.NoError(t, w.Close(t.Context()))
			})
		})
	}
}

// A commit fails, or its outcome is unknown: the same cut is committed again,
// also where who asked for it has given up meanwhile.
func TestCutIsRepeatedAsItIs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		made := &commits{fail: func(n int) error {
			if n < 5 {
				return errors.New("no leader")
			}
			return nil
		}}
		w := create(t, s, Options{Commit: made.commit})
		a := newAppender(t, w)
		appendRounds(t, w, a, 10, threeLogs)
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		require.Error(t, w.CutNow(ctx))
		appendRounds(t, w, a, 10, threeLogs)
		time.Sleep(time.Hour)
		require.NoError(t, w.CutNow(t.Context()))
		require.Equal(t, 7, made.attempts())
		require.Len(t, made.all(), 2)
		requireCuts(t, s, made.all())
		require.Equal(t, w.Durable()+1, made.all()[1].To)
		require.NoError(t, w.Close(t.Context()))
	})
}

// Nothing is cut once the chain is over, and a cut that waits to be tried
// again does not hold Close up.
func TestNoCutAfterTheEnd(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		made := &commits{fail: func(int) error { return errors.New("is being sealed") }}
		w := create(t, s, Options{Commit: made.commit, CutFragments: 2})
		a := newAppender(t, w)
		appendRounds(t, w, a, 2, threeLogs)
		synctest.Wait()
		require.Equal(t, 1, made.attempts())
		s.mem.Put(chainKey(w.Durable()+1), sealObject(w.Durable()+1, fragment.KindSeal, testChain))
		x, _ := a.add(1, 10)
		require.ErrorIs(t, x.wait(), ErrSealed)
		start := time.Now()
		require.NoError(t, w.Close(t.Context()))
		require.Zero(t, time.Since(start))
		require.Equal(t, 1, made.attempts())
		require.ErrorIs(t, w.CutNow(t.Context()), ErrSealed)
		require.Equal(t, 1, made.attempts())
	})
}

// Readers look for rows while the chain is written and cut: what is durable is
// in the open segment or in a cut, at every moment.
func TestRowsDuringCuts(t *testing.T) {
	s, made := newStore(), &commits{}
	s.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: "index/", Delay: 500 * time.Microsecond})
	var mu sync.Mutex
	durable := make(map[fragment.LogID]fragment.LSN)
	cache := NewCache(64 << 20)
	w := create(t, s, Options{Commit: made.commit, CutFragments: 7, Cache: cache, Durable: func(f *fragment.Frozen) {
		mu.Lock()
		defer mu.Unlock()
		for _, sl := range f.Directory.Slices {
			durable[sl.Log] = sl.End()
		}
	}})
	r := NewReader(s, cache)
	defer r.Close()
	done := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rng, _ := newRand(t)
			log := fragment.LogID(1 + g%3)
			k := Stay{Log: log, Attachment: fragment.Attachment(log), First: 1}
			for {
				select {
				case <-done:
					return
				default:
				}
				mu.Lock()
				end := durable[log]
				mu.Unlock()
				if end < 2 {
					continue
				}
				lsn := end - 1 // at the tail, or anywhere
				if rng.IntN(2) == 0 {
					lsn = 1 + fragment.LSN(rng.Uint64N(uint64(end-1)))
				}
				rows, err := r.Rows(t.Context(), View{Chain: testChain, Open: w}, k, lsn, 3)
				if err != nil || len(rows) == 0 || rows[0].First > lsn || rows[0].End() <= lsn || rows[0].Lost {
					t.Errorf("log %d LSN %d of %d: %+v, %v", log, lsn, end, rows, err)
					return
				}
				for i := 1; i < len(rows); i++ {
					if rows[i].First != rows[i-1].End() {
						t.Errorf("rows %+v", rows)
					}
				}
			}
		})
	}
	a := newAppender(t, w)
	appendRounds(t, w, a, 400, threeLogs)
	close(done)
	wg.Wait()
	require.NoError(t, w.Close(t.Context()))
	require.Greater(t, len(w.Cuts()), 5)
	requireCuts(t, s, w.Cuts())
}

// An anonymous producer is forgotten once its log has gone on without it for
// ten minutes; named ones are not, and no id is forgotten twice.
func TestProducersExpireAtCuts(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s, made := newStore(), &commits{}
		w := create(t, s, Options{Commit: made.commit})
		add := func(p fragment.ProducerID, seq uint64, from fragment.LSN) {
			b := makeBatch(1, p, seq, from, 1, 10)
			require.NoError(t, w.Reserve(t.Context(), b.Len()))
			_, err := w.Append(1, b, 0, newAck(t))
			require.NoError(t, err)
			require.NoError(t, w.Flush(t.Context()))
		}
		_, err := w.Note(nil, fragment.LogState{Log: 1, Attachment: 1, End: 1, Producers: []fragment.ProducerState{{ID: 4, Name: "four", Epoch: 1}}})
		require.NoError(t, err)
		add(5, 1, 1)
		add(4, 1, 2)
		add(6, 1, 3)
		require.NoError(t, w.CutNow(t.Context()))
		time.Sleep(9 * time.Minute)
		add(6, 2, 4)
		require.NoError(t, w.CutNow(t.Context()))
		time.Sleep(9 * time.Minute)
		add(7, 1, 5)
		require.NoError(t, w.CutNow(t.Context()))
		var have [][]fragment.ProducerID
		var dropped []fragment.ProducerID
		for _, c := range made.all() {
			x, err := readIndex(t.Context(), s, c.Index)
			require.NoError(t, err)
			st, _ := x.State(1)
			var ids []fragment.ProducerID
			for _, p := range st.Producers {
				ids = append(ids, p.ID)
			}
			have, dropped = append(have, ids), append(dropped, st.Dropped)
		}
		require.Equal(t, [][]fragment.ProducerID{{4, 5, 6}, {4, 5, 6}, {4, 6, 7}}, have)
		require.Equal(t, []fragment.ProducerID{0, 0, 5}, dropped)

		// Made again from the chain, the index is the same, to the byte.
		require.NoError(t, w.Close(t.Context()))
		want, err := readIndex(t.Context(), s, made.all()[2].Index)
		require.NoError(t, err)
		s.mem.Lose(made.all()[2].Index.Key)
		s.mem.Lose(made.all()[1].Index.Key)
		got, remade, err := loadIndex(t.Context(), s, testChain, made.all(), nil)
		require.NoError(t, err)
		require.NotNil(t, remade)
		requireSame(t, want, got)
	})
}
