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

func TestOwnKeys(t *testing.T) {
	require.Equal(t, "nodes/n1-a/00000000000000ff", BootKey("n1-a", 255))
	require.Equal(t, "nodes/n1-a/probe", ProbeKey("n1-a"))
	require.Equal(t, "incarnations/000000000000002a", IncarnationKey(42))
	for _, n := range []uint64{0, 1, 15, 16, 1 << 63, 1<<64 - 1} {
		identity, boot, err := ParseBootKey(BootKey("n1-a", n))
		require.NoError(t, err)
		require.Equal(t, "n1-a", identity)
		require.Equal(t, n, boot)
		got, err := ParseIncarnationKey(IncarnationKey(n))
		require.NoError(t, err)
		require.Equal(t, n, got)
	}
	for _, key := range []string{
		"", "nodes/", "nodes/n1-a", "nodes/n1-a/", "nodes//0000000000000001", ProbeKey("n1-a"), "nodes/n1-a/1",
		"nodes/n1-a/000000000000000A", "nodes/n1-a/b/0000000000000001", "/nodes/n1-a/0000000000000001", "n1-a/0000000000000001",
	} {
		_, _, err := ParseBootKey(key)
		require.ErrorContains(t, err, key)
	}
	for _, key := range []string{
		"", "incarnations/", "incarnations/1", "incarnations/000000000000000A", "incarnations/0000000000000001/", "0000000000000001",
	} {
		_, err := ParseIncarnationKey(key)
		require.ErrorContains(t, err, key)
	}
}
