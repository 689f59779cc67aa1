package segment

import (
	"bytes"
	"context"
	"io/fs"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

func stayOf(log fragment.LogID) Stay {
	return Stay{Log: log, Attachment: fragment.Attachment(log), First: 1}
}

// sealed ends a chain and returns the view of it.
func (b *built) sealed() View {
	x, err := Seal(b.t.Context(), b.store, b.request(8))
	require.NoError(b.t, err)
	from := uint64(1)
	if n := len(b.cuts); n > 0 {
		from = b.cuts[n-1].To
	}
	return View{Chain: testChain, Cuts: b.cuts, Sealed: &Cut{From: from, To: x.At, Index: x.Index}}
}

// readAll reads a stay from an LSN to its end.
func readAll(t testing.TB, r *Reader, v View, k Stay, from fragment.LSN) (batches []fragment.Batch, damage []Damage) {
	t.Helper()
	for {
		rows, err := r.Rows(t.Context(), v, k, from, 10)
		require.NoError(t, err)
		if len(rows) == 0 {
			return batches, damage
		}
		for _, row := range rows {
			s, err := r.Slice(t.Context(), v.Chain.Epoch, k, row)
			require.NoError(t, err)
			batches, damage = append(batches, s.Batches...), append(damage, s.Damage...)
			from = row.End()
		}
	}
}

func requireBatches(t testing.TB, want, got []fragment.Batch) {
	t.Helper()
	require.Equal(t, len(want), len(got))
	for i := range want {
		require.True(t, bytes.Equal(want[i].Bytes(), got[i].Bytes()), "batch %d", i)
	}
}

func TestReadWholeChain(t *testing.T) {
	for name, cut := range map[string]uint64{"no cuts": 0, "cuts": 30, "cut to its end": 50} {
		t.Run(name, func(t *testing.T) {
			b := build(t, 150, Options{CutFragments: cut}, threeLogs)
			v := b.sealed()
			for _, bytesMax := range []int64{0, 4 << 10, 64 << 20} {
				r := NewReader(b.store, NewCache(bytesMax))
				for log, sent := range b.sent {
					got, damage := readAll(t, r, v, stayOf(log), 1)
					require.Empty(t, damage)
					requireBatches(t, sent, got)
					rows, err := r.Rows(t.Context(), v, stayOf(log), b.next[log], 1)
					require.NoError(t, err)
					require.Empty(t, rows)
				}
				r.Close()
			}
		})
	}
}

// Index objects that are gone or damaged are made again from the chain.
func TestReadWithoutIndex(t *testing.T) {
	b := build(t, 150, Options{CutFragments: 40}, threeLogs)
	v := b.sealed()
	b.mem.Lose(b.cuts[0].Index.Key)
	b.mem.Put(b.cuts[2].Index.Key, []byte("damaged"))
	b.mem.Lose(v.Sealed.Index.Key)
	r := NewReader(b.store, NewCache(1<<20))
	defer r.Close()
	for log, sent := range b.sent {
		got, damage := readAll(t, r, v, stayOf(log), 1)
		require.Empty(t, damage)
		requireBatches(t, sent, got)
	}
}

// A thousand readers of one cold fragment cost about one request, whether they
// want one log or a thousand.
func TestColdFragmentIsReadOnce(t *testing.T) {
	for name, logs := range map[string]int{"one log": 1, "many logs": 1000} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				b := build(t, 1, Options{}, func(int) []fragment.LogID {
					var all []fragment.LogID
					for i := range logs {
						all = append(all, fragment.LogID(i+1))
					}
					return all
				})
				v := b.sealed()
				r := NewReader(b.store, NewCache(64<<20))
				_, err := r.Rows(t.Context(), v, stayOf(1), 1, 1)
				require.NoError(t, err)
				b.Add(blobtest.Fault{Kind: blobtest.Read, Delay: 50 * time.Millisecond})
				before := b.Count(blobtest.Read)
				var wg sync.WaitGroup
				for i := range 1000 {
					wg.Go(func() {
						log := fragment.LogID(1 + i%logs)
						got, damage := readAll(t, r, v, stayOf(log), 1)
						if len(got) != len(b.sent[log]) || len(damage) > 0 {
							t.Errorf("log %d: %d batches, %v", log, len(got), damage)
						}
					})
				}
				wg.Wait()
				n := b.Count(blobtest.Read) - before
				t.Logf("%d reads", n)
				require.LessOrEqual(t, n, 2)
				r.Close()
			})
		})
	}
}

// A reader that gives up leaves the read to the others, and Close waits for it.
func TestReaderGivesUp(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := build(t, 5, Options{}, threeLogs)
		v := b.sealed()
		r := NewReader(b.store, nil)
		rows, err := r.Rows(t.Context(), v, stayOf(1), 1, 1)
		require.NoError(t, err)
		b.Add(blobtest.Fault{Kind: blobtest.Read, Delay: time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = r.Slice(ctx, v.Chain.Epoch, stayOf(1), rows[0])
		require.ErrorIs(t, err, context.DeadlineExceeded)
		start := time.Now()
		r.Close()
		require.Greater(t, time.Since(start), 900*time.Millisecond)
	})
}

// Damage of one batch loses exactly its LSNs; what is damaged on the wire only
// loses nothing; what is gone says so.
func TestDamagedSlices(t *testing.T) {
	b := build(t, 2, Options{}, func(int) []fragment.LogID { return []fragment.LogID{1, 2, 1, 1, 1, 2} })
	v := b.sealed()
	whole := b.object(1)
	rows, err := NewReader(b.store, nil).Rows(t.Context(), v, stayOf(1), 1, 9)
	require.NoError(t, err)
	require.Len(t, rows, 2)
	one := b.sent[1][0].Len()
	for i := range 4 {
		for _, at := range []int{0, 9, 30, one - 1} {
			for name, warm := range map[string]bool{"part": false, "whole": true} {
				body := bytes.Clone(whole)
				body[int(rows[0].Offset)+i*one+at] ^= 1
				b.mem.Put(chainKey(1), body)
				r := NewReader(b.store, NewCache(16<<20))
				if warm { // the other log is there: this one is read with all
					_, damage := readAll(t, r, v, stayOf(2), 1)
					require.Empty(t, damage)
				}
				s, err := r.Slice(t.Context(), testChain.Epoch, stayOf(1), rows[0])
				require.NoError(t, err)
				require.Len(t, s.Batches, 3, name)
				require.Len(t, s.Damage, 1)
				d := s.Damage[0]
				require.Equal(t, fragment.LSN(i+1), d.From, "batch %d byte %d", i, at)
				require.Equal(t, fragment.LSN(i+2), d.To)
				require.Equal(t, chainKey(1), d.Object)
				require.ErrorIs(t, d.Err, fragment.ErrCorrupt)
			}
		}
	}
	b.mem.Put(chainKey(1), whole)
	b.Add(blobtest.Fault{Kind: blobtest.Read, Flip: 20, Count: 1})
	s, err := NewReader(b.store, nil).Slice(t.Context(), testChain.Epoch, stayOf(1), rows[0])
	require.NoError(t, err)
	require.Empty(t, s.Damage)
	requireBatches(t, b.sent[1][:4], s.Batches)

	b.mem.Put(chainKey(1), whole[:len(whole)/2]) // cut off
	s, err = NewReader(b.store, nil).Slice(t.Context(), testChain.Epoch, stayOf(1), rows[0])
	require.NoError(t, err)
	require.NotEmpty(t, s.Damage)
	require.EqualValues(t, 5, s.Damage[len(s.Damage)-1].To)

	b.lose(1)
	s, err = NewReader(b.store, nil).Slice(t.Context(), testChain.Epoch, stayOf(1), rows[0])
	require.NoError(t, err)
	require.Len(t, s.Damage, 1)
	require.ErrorIs(t, s.Damage[0].Err, fs.ErrNotExist)
}

// TestForeignFragment: where another cluster has given out the same numbers, its
// fragment is not taken for ours, however it is read; and when ours is back, it is
// read.
func TestForeignFragment(t *testing.T) {
	logs := func(int) []fragment.LogID { return []fragment.LogID{1, 2, 1} }
	b, other := build(t, 2, Options{}, logs), build(t, 2, Options{}, logs)
	v := b.sealed()
	ours, theirs := b.object(1), other.object(1)
	x, err := fragment.Decode(ours)
	require.NoError(t, err)
	y, err := fragment.Decode(theirs)
	require.NoError(t, err)
	for i, s := range x.Directory.Slices {
		require.Equal(t, [2]uint32{s.Offset, s.Length}, [2]uint32{y.Directory.Slices[i].Offset, y.Directory.Slices[i].Length}, "neither tells them apart")
	}
	for name, warm := range map[string]bool{"part": false, "whole": true} {
		b.mem.Put(chainKey(1), theirs)
		r := NewReader(b.store, NewCache(16<<20))
		if warm { // somebody reads another slice of it
			_, err := r.whole(t.Context(), chainKey(1), testChain.Epoch, 1)
			require.NoError(t, err)
		}
		for _, log := range []fragment.LogID{1, 2} {
			rows, err := r.Rows(t.Context(), v, stayOf(log), 1, 1)
			require.NoError(t, err)
			s, err := r.Slice(t.Context(), testChain.Epoch, stayOf(log), rows[0])
			require.NoError(t, err)
			require.Empty(t, s.Batches, name)
			require.Len(t, s.Damage, 1)
			require.Equal(t, [2]fragment.LSN{rows[0].First, rows[0].End()}, [2]fragment.LSN{s.Damage[0].From, s.Damage[0].To})
			require.ErrorIs(t, s.Damage[0].Err, fragment.ErrCorrupt)
		}
		b.mem.Put(chainKey(1), ours)
		for _, log := range []fragment.LogID{1, 2} {
			got, damage := readAll(t, r, v, stayOf(log), 1)
			require.Empty(t, damage)
			require.Equal(t, b.sent[log], got)
		}
		r.Close()
	}
}

// Rows of a lost fragment come as damage, with just its LSNs.
func TestReadLostFragment(t *testing.T) {
	b := build(t, 20, Options{}, threeLogs)
	b.lose(5) // logs 1, 2 and 3
	v := b.sealed()
	r := NewReader(b.store, NewCache(1<<20))
	defer r.Close()
	for log, sent := range b.sent {
		got, damage := readAll(t, r, v, stayOf(log), 1)
		require.Len(t, damage, 1)
		var lost *LostError
		require.ErrorAs(t, damage[0].Err, &lost)
		require.EqualValues(t, 5, lost.N)
		require.EqualValues(t, 1, damage[0].To-damage[0].From)
		i := int(damage[0].From - 1)
		requireBatches(t, append(sent[:i:i], sent[i+1:]...), got)
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := NewCache(1000)
	batch := makeBatch(1, 1, 1, 1, 1, 100)
	slice := []fragment.Batch{batch}
	size := batch.Len()
	room := uint64(1000 / size)
	for n := uint64(1); n <= 20; n++ {
		c.putSlice(7, n, 1, slice, size)
		require.NotNil(t, c.Slice(7, 1, 1), "the first is used all the time")
		_, _, bytes := c.Stats()
		require.LessOrEqual(t, bytes, int64(1000))
	}
	for n := uint64(2); n <= 20; n++ {
		require.Equal(t, n > 20-room+1, c.Slice(7, n, 1) != nil, "%d", n)
	}
	// Slices of one fragment add up; what is too large is not taken.
	c.putSlice(7, 20, 2, slice, size)
	require.NotNil(t, c.Slice(7, 20, 1))
	require.NotNil(t, c.Slice(7, 20, 2))
	c.putSlice(7, 30, 1, slice, 2000)
	require.Nil(t, c.Slice(7, 30, 1))
	c.putIndex("a", &fragment.Index{}, 250)
	require.NotNil(t, c.index("a"))
	require.Nil(t, c.Slice(7, 20, 1))
	c.putIndex("b", &fragment.Index{}, 251)
	require.Nil(t, c.index("b"))
	hits, misses, _ := c.Stats()
	require.NotZero(t, hits)
	require.NotZero(t, misses)
}
