package segment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// merge is a commit of merged cuts, by the rule of the metadata.
func (c *commits) merge(_ context.Context, x Cut) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.merges++
	i := slices.IndexFunc(c.cuts, func(y Cut) bool { return y.From == x.From })
	j := slices.IndexFunc(c.cuts, func(y Cut) bool { return y.To == x.To })
	switch {
	case i >= 0 && c.cuts[i] == x: // an equal one is a no-op
	case i < 0 || j < i+1:
		return fmt.Errorf("[%d, %d) does not cover two or more cuts", x.From, x.To)
	default:
		c.cuts = slices.Replace(c.cuts, i, j+1, x)
	}
	if c.failMerge != nil {
		return c.failMerge(c.merges - 1)
	}
	return nil
}

func (c *commits) attemptsToMerge() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.merges
}

// TestNextRun adds many thousand cuts, some of which are full, and merges what is
// to be merged: what is left is few, and the last cut is always as it was made.
func TestNextRun(t *testing.T) {
	var ranks []uint8
	var sizes []int // cuts in each
	fulls := 0
	for n := range 20000 {
		ranks, sizes = append(ranks, 0), append(sizes, 1)
		for {
			i, j := nextRun(ranks)
			if i == j {
				break
			}
			require.Equal(t, mergeRun, j-i)
			require.Less(t, j, len(ranks), "the last cut stays")
			rank := ranks[i] + 1
			if n%1000 == 999 {
				rank = rankFull
				fulls++
			}
			sum := 0
			for k := i; k < j; k++ {
				require.Equal(t, ranks[i], ranks[k])
				sum += sizes[k]
			}
			ranks, sizes = slices.Replace(ranks, i, j, rank), slices.Replace(sizes, i, j, sum)
		}
		require.Equal(t, 1, sizes[len(sizes)-1])
	}
	sum := 0
	for _, n := range sizes {
		sum += n
	}
	require.Equal(t, 20000, sum)
	require.Less(t, len(ranks), 4*mergeRun*(1+fulls))
}

// TestMergeCuts cuts a chain into hundreds of segments, which are merged as they
// come: all rows and states are found where they were, by readers that know the
// cuts as they are, and by ones that know them as they were made.
func TestMergeCuts(t *testing.T) {
	const fragments = 1000
	cases := map[string]struct {
		bytes           int // of a merged index, at most
		fewest, mostest int // cuts that are left of them
	}{
		"large": {1 << 20, 3, 40},
		"small": {1 << 10, 30, 300},
		"none":  {1, fragments, fragments},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				s, made := newStore(), &commits{}
				w := create(t, s, Options{Commit: made.commit, Merge: made.merge, CutFragments: 1, MergeBytes: c.bytes})
				a := newAppender(t, w)
				for i := range fragments {
					x, _ := a.add(fragment.LogID(1+i%3), 10)
					require.NoError(t, x.wait())
					time.Sleep(time.Second) // the cut is made
				}
				require.Equal(t, made.all(), w.Cuts())
				require.GreaterOrEqual(t, len(w.Cuts()), c.fewest)
				require.LessOrEqual(t, len(w.Cuts()), c.mostest)
				requireCuts(t, s, w.Cuts())
				last := w.Cuts()[len(w.Cuts())-1]
				require.Equal(t, last.From+1, last.To, "the last is as it was made")
				if c.bytes > 1 {
					for _, x := range w.Cuts() {
						require.LessOrEqual(t, x.Index.Size, uint64(c.bytes))
					}
				}
				requireReads(t, s, a, View{Chain: testChain, Open: w})
				require.NoError(t, w.Close(t.Context()))

				sealed, err := Seal(t.Context(), s, SealRequest{Chain: testChain, Cuts: made.all(), Sealer: testSealer})
				require.NoError(t, err)
				again, err := Seal(t.Context(), s, SealRequest{Chain: testChain, Cuts: made.unmerged, Sealer: testSealer})
				require.NoError(t, err)
				require.Equal(t, sealed.Index, again.Index, "a sealer that has not heard of the merges")
				end := &Cut{From: last.To, To: sealed.At, Index: sealed.Index}
				for _, cuts := range [][]Cut{made.all(), made.unmerged} {
					requireReads(t, s, a, View{Chain: testChain, Cuts: cuts, Sealed: end})
				}
			})
		})
	}
}

// requireReads reads all batches back by their LSNs.
func requireReads(t testing.TB, s *store, a *appender, v View) {
	t.Helper()
	r := NewReader(s, NewCache(8<<20))
	defer r.Close()
	for log, sent := range a.sent {
		k := Stay{Log: log, Attachment: fragment.Attachment(log)}
		var got []fragment.Batch
		for next := fragment.LSN(1); next < a.next[log]; {
			rows, err := r.Rows(t.Context(), v, k, next, 100)
			require.NoError(t, err)
			require.NotEmpty(t, rows, "log %d from %d", log, next)
			for _, row := range rows {
				x, err := r.Slice(t.Context(), v.Chain.Epoch, k, row)
				require.NoError(t, err)
				require.Empty(t, x.Damage)
				got, next = append(got, x.Batches...), row.End()
			}
		}
		require.Equal(t, len(sent), len(got))
		for i := range sent {
			require.Equal(t, sent[i].Bytes(), got[i].Bytes())
		}
	}
}

// TestMergeIsRepeated: a merge whose outcome is not known is made again as it is,
// and one of an index that is damaged makes it whole.
func TestMergeIsRepeated(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		made := &commits{failMerge: func(n int) error {
			if n < 3 {
				return errors.New("nobody knows")
			}
			return nil
		}}
		w := create(t, s, Options{Commit: made.commit, Merge: made.merge, CutFragments: 1})
		a := newAppender(t, w)
		add := func(n int) {
			for range n {
				x, _ := a.add(1, 10)
				require.NoError(t, x.wait())
				time.Sleep(time.Second)
			}
		}
		add(mergeRun)
		require.Zero(t, made.attemptsToMerge(), "the last cut stays")
		require.True(t, s.mem.Lose(w.Cuts()[3].Index.Key))
		b, _ := s.mem.Object(w.Cuts()[5].Index.Key)
		b = slices.Clone(b)
		b[len(b)/2]++
		s.mem.Put(w.Cuts()[5].Index.Key, b)
		add(3)
		require.Equal(t, 3, made.attemptsToMerge())
		require.Len(t, w.Cuts(), mergeRun+3, "it does not know")
		require.Len(t, made.all(), 4, "though it was done")
		add(1)
		require.Equal(t, 4, made.attemptsToMerge())
		require.Equal(t, made.all(), w.Cuts())
		require.Len(t, w.Cuts(), 5)
		requireCuts(t, s, w.Cuts())
		requireReads(t, s, a, View{Chain: testChain, Open: w})
		require.NoError(t, w.Close(t.Context()))
	})
}
