package fragment

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is kept is bounded, whatever was needed before; and what is needed now
// is found again.
func TestScratchIsBounded(t *testing.T) {
	p := scratchPool{sizes: scratches.sizes}
	fill := func(i int) {
		for range 2 * scratchBytesMax / p.sizes[i] {
			p.put(i, make([]byte, 0, p.sizes[i]))
			require.LessOrEqual(t, p.bytes, scratchBytesMax)
		}
	}
	for i := range p.sizes {
		fill(i)
		require.GreaterOrEqual(t, len(p.free[i])*p.sizes[i], scratchBytesMax/len(p.sizes)-p.sizes[i])
	}
	kept := 0
	for i, size := range p.sizes {
		for len(p.free[i]) > 0 {
			b := p.get(i)
			require.Empty(t, b)
			require.Equal(t, size, cap(b))
			kept += size
		}
	}
	require.Positive(t, kept)
	require.Zero(t, p.bytes)
	require.Equal(t, p.sizes[0], cap(p.get(0)), "an empty pool makes one")
}

// A batch is the same however its entries lie in chunks: of each size around
// the borders of the first ones.
func TestBuildAcrossChunks(t *testing.T) {
	borders := []int{4 << 10, 8 << 10, 20 << 10, 36 << 10, 64 << 10, 130 << 10}
	for _, border := range borders {
		for size := border - batchHeaderLen - 20; size < border+20; size++ {
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(i * 31)
			}
			headers := []Header{{Key: "key", Value: data[:size%100]}}
			var b BatchBuilder
			want := 0
			for range 2 {
				require.NoError(t, b.Add(nil, data))
				require.NoError(t, b.Add(headers, data[:size/2]))
				want += encodedLen(nil, data) + encodedLen(headers, data[:size/2])
			}
			require.Equal(t, batchHeaderLen+want, b.Len())
			batch, err := OpenBatch(b.Finish(BatchMeta{Producer: 1, ProducerEpoch: 1, FirstSeq: 1, LowestSeq: 1}).Bytes(), Limits{})
			require.NoError(t, err, "%d bytes", size)
			require.Zero(t, b.Len())
			entries, err := batch.Entries()
			require.NoError(t, err)
			for i := range 4 {
				e, ok := entries.Next()
				require.True(t, ok)
				if i%2 == 0 {
					require.True(t, bytes.Equal(data, e.Data), "%d bytes", size)
					require.Empty(t, e.Headers)
				} else {
					require.True(t, bytes.Equal(data[:size/2], e.Data), "%d bytes", size)
					require.Equal(t, headers, e.Headers)
				}
			}
			require.NoError(t, entries.Err())
		}
	}
}
