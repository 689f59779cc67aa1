package fragment

import (
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
