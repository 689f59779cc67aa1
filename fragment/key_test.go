package fragment

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKeys(t *testing.T) {
	require.Equal(t, "chains/000000000000002a/00000000000000ff", ChainKey(42, 255))
	require.Equal(t, "index/000000000000002a/0000000000000001-0000000000000100-00c0ffee", IndexKey(42, 1, 256, 0xc0ffee))
	var keys []string
	for _, e := range []Epoch{1, 9, 10, 255, 256, 1 << 40, ^Epoch(0)} {
		for _, n := range []uint64{0, 1, 15, 16, 4096, 1 << 63, 1<<64 - 1} {
			key := ChainKey(e, n)
			keys = append(keys, key)
			gotE, gotN, err := ParseChainKey(key)
			require.NoError(t, err)
			require.Equal(t, e, gotE)
			require.Equal(t, n, gotN)
		}
	}
	require.True(t, slices.IsSorted(keys), "the order of keys is that of numbers")
	for _, key := range []string{
		"", "chains/", "chains/0000000000000001", "chains/0000000000000001/", "chains/1/1",
		"chains/000000000000000A/0000000000000001", "chains/0000000000000001/0000000000000001/",
		"/chains/0000000000000001/0000000000000001", "index/0000000000000001/0000000000000001",
		"chains/+000000000000001/0000000000000001", "chains/0000000000000001/000000000000000_",
		"chains/0000000000000001/00000000000000001",
	} {
		_, _, err := ParseChainKey(key)
		require.ErrorContains(t, err, key)
	}
}
