package segment

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// naive reads all directories one by one, and knows no sums.
func naive(t testing.TB, s *store, from, to uint64, base *fragment.Index) *fragment.Index {
	t.Helper()
	all := newTally(from)
	if base != nil {
		all.addStates(base.States)
	}
	for n := from; n < to; n++ {
		l, err := readLink(t.Context(), s, testChain, n)
		require.NoError(t, err)
		require.NoError(t, l.damage)
		all.add(n, l.directory)
	}
	return all.index()
}

// Whatever the range, and whichever of its sums are missing, reading by sums
// finds what reading one by one does, and each number once.
func TestReadSure(t *testing.T) {
	b := build(t, 200, Options{}, threeLogs)
	ends := []uint64{1, 2, 63, 64, 65, 66, 127, 128, 129, 130, 191, 192, 193, 201}
	for _, from := range ends {
		base := naive(t, b.store, 1, from, nil)
		for _, to := range ends {
			if to < from {
				continue
			}
			f := newFindings(testChain.Epoch, from, base, nil)
			reads := b.Count(blobtest.Read)
			require.NoError(t, readSure(t.Context(), b.store, testChain, from, to, isLost, f.add))
			require.Equal(t, to, f.next(), "[%d, %d)", from, to)
			require.Empty(t, f.lost)
			requireSame(t, naive(t, b.store, from, to, base), f.index(to), from, to)
			require.LessOrEqual(t, b.Count(blobtest.Read)-reads, 3+63+int(to-from)/63+int(to-from), "reads")
		}
	}
}

// gallop never says that something is sure which is not, comes within a few
// windows of the end, and does not ask much.
func TestGallop(t *testing.T) {
	mem := blobtest.NewMem()
	s := onMem(mem)
	have := uint64(0)
	for _, length := range []uint64{0, 1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 100, 255, 256, 257, 1000, 3000, 4095, 4096, 4097, 20000} {
		for ; have < length; have++ {
			mem.Put(chainKey(have+1), []byte("x"))
		}
		for _, window := range []uint64{1, 8, 50} {
			for _, from := range []uint64{1, 2, 65, 1000} {
				if from > length+1 {
					continue
				}
				c := testChain
				c.Window = window
				before := s.Count(blobtest.Read)
				sure, err := gallop(t.Context(), s, c, from)
				require.NoError(t, err)
				if length < from+window {
					require.Equal(t, from, sure, "%d objects, window %d, from %d", length, window, from)
				} else {
					require.LessOrEqual(t, sure, length-window+1)
					require.GreaterOrEqual(t, sure+2*window, length-window+1, "%d objects, window %d, from %d", length, window, from)
				}
				require.LessOrEqual(t, s.Count(blobtest.Read)-before, 24+6*15)
			}
		}
	}
}

// Recovery of 4,096 fragments on a store delayed by 30 ms.
func TestSealIsQuick(t *testing.T) {
	var mem *blobtest.Mem
	var want *fragment.Index
	var b *built
	bubble.Test(t, func(t *testing.T) {
		b = build(t, 4096, Options{}, threeLogs)
		mem, want = b.mem, naive(t, b.store, 1, 4097, nil)
	})
	for _, n := range []uint64{4096, 4095, 4000, 2049, 2048, 1000, 65} {
		bubble.Test(t, func(t *testing.T) {
			s := onMem(mem.Clone())
			for m := n + 1; m <= 4096; m++ {
				s.mem.Lose(chainKey(m))
			}
			s.Add(blobtest.Fault{Delay: 30 * time.Millisecond})
			start := time.Now()
			x, err := Seal(t.Context(), s, b.request(8))
			require.NoError(t, err)
			took, reads := time.Since(start), s.Count(blobtest.Read)
			t.Logf("%d fragments: %v, %d reads", n, took, reads)
			require.Equal(t, n+1, x.At)
			require.Less(t, took, 2*time.Second)
			require.LessOrEqual(t, reads, 400)
			if n == 4096 {
				requireSame(t, want, x.Content)
			}
		})
	}
}

// Damage and wrong places are told apart from absence; a newer version stops
// the walk instead of being called lost.
func TestReadLink(t *testing.T) {
	b := build(t, 3, Options{}, threeLogs)
	_, err := readLink(t.Context(), b.store, testChain, 4)
	require.Error(t, err)
	other := testChain
	other.Cluster[3]++
	l, err := readLink(t.Context(), b.store, other, 2)
	require.NoError(t, err)
	require.ErrorIs(t, l.damage, fragment.ErrCorrupt)
	body := b.object(2)
	body[4]++ // the version: the checksum says that it is damage
	b.mem.Put(chainKey(2), body)
	l, err = readLink(t.Context(), b.store, testChain, 2)
	require.NoError(t, err)
	require.ErrorIs(t, l.damage, fragment.ErrCorrupt)
	b.mem.Put(chainKey(2), append(body, 0))
	l, err = readLink(t.Context(), b.store, testChain, 2)
	require.NoError(t, err)
	require.Error(t, l.damage)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Seal(ctx, b.store, b.request(8))
	require.ErrorIs(t, err, context.Canceled)
}
