package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/wal"
)

func TestByteSize(t *testing.T) {
	for in, want := range map[string]byteSize{
		"0": 0, "1": 1, "65536": 65536, "64KiB": 65536, "64kib": 65536, "64Ki": 65536, "1GiB": 1 << 30, "1.5GiB": 3 << 29,
		"8MB": 8e6, "8 MB": 8e6, "1k": 1000, "2T": 2e12,
	} {
		var b byteSize
		require.NoError(t, b.Set(in), in)
		require.Equal(t, want, b, in)
	}
	for _, in := range []string{"", "x", "-1", "1x", "KiB", "1e30", "9999999TiB", "1 2", "NaN"} {
		var b byteSize
		require.Error(t, b.Set(in), in)
	}
	for want, b := range map[string]byteSize{"0": 0, "1000": 1000, "1KiB": 1024, "3MiB": 3 << 20, "1GiB": 1 << 30} {
		require.Equal(t, want, b.String())
	}
}

func TestTexts(t *testing.T) {
	require.Equal(t, "0", countText(0))
	require.Equal(t, "999", countText(999))
	require.Equal(t, "1,000", countText(1000))
	require.Equal(t, "-1,234,567", countText(-1234567))
	require.Equal(t, "1 log", plural(1, "log"))
	require.Equal(t, "1,000 logs", plural(1000, "log"))
	require.Equal(t, "12 B", sizeText(12))
	require.Equal(t, "1.00 KiB", sizeText(1024))
	require.Equal(t, "342 MiB", sizeText(342<<20))
	require.Equal(t, "340 µs", timeText(340*time.Microsecond))
	require.Equal(t, "1.08 ms", timeText(1084*time.Microsecond))
	require.Equal(t, "12.3 s", timeText(12_345*time.Millisecond))
	require.Equal(t, "2m5s", timeText(125*time.Second))
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	columns := []column{{"name", true}, {"n", false}, {"µs", true}}
	require.NoError(t, printTable(&out, ink{}, columns, [][]string{{"a", "1", "µ"}, {"longer", "1,000", "x"}}))
	require.Equal(t, "name        n  µs\na           1  µ\nlonger  1,000  x\n", out.String())
}

func TestInk(t *testing.T) {
	cmd := &cobra.Command{}
	addOutputFlags(cmd)
	var out bytes.Buffer
	set := func(color string) ink {
		require.NoError(t, cmd.PersistentFlags().Set("color", color))
		require.NoError(t, cmd.ParseFlags(nil))
		return inkFor(cmd, &out)
	}
	require.Equal(t, "x", set("auto").red("x"), "no terminal")
	require.Equal(t, "\x1b[31mx\x1b[0m", set("always").red("x"))
	require.Equal(t, "x", set("never").red("x"))
	require.Empty(t, ink{true}.bold(""))
}

func TestMemoryLimit(t *testing.T) {
	require.EqualValues(t, (96+96+152)<<20, memoryLimit(wal.Config{}))
	require.EqualValues(t, (24+152)<<20, memoryLimit(wal.Config{Window: 1, FragmentBytes: 64 << 10, CacheBytes: -1}))
	require.EqualValues(t, (50+10+152)<<20, memoryLimit(wal.Config{BufferBytes: 50 << 20, CacheBytes: 10 << 20}))
}
