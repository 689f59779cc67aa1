package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/node"
)

// writeLines makes a file of n lines of all kinds: empty, long, with CR, with
// bytes that are no text, and a last one without a newline.
func writeLines(t *testing.T, n int) string {
	var b strings.Builder
	for i := range n - 1 {
		switch i % 7 {
		case 0:
		case 1:
			b.WriteString(strings.Repeat("x", 300_000/(i+1)))
		case 2:
			b.WriteString("\x00\xff\r")
		default:
			fmt.Fprintf(&b, "line %d", i+1)
		}
		b.WriteByte('\n')
	}
	b.WriteString("the end")
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o600))
	return path
}

func TestDemo(t *testing.T) {
	file, dir := writeLines(t, 20_000), t.TempDir()
	code, stdout, stderr := runWpd("demo", file, "--dir", dir, "-o", "json")
	require.Zero(t, code, stderr)
	var r demoResult
	require.NoError(t, json.Unmarshal([]byte(stdout), &r))
	require.True(t, r.OK)
	require.EqualValues(t, 20_000, r.Lines)
	require.Equal(t, r.SHA256, r.ReadSHA256)
	require.Len(t, r.Lives, 3)
	require.Equal(t, 3, r.Extents)
	require.NotEmpty(t, r.Verified)
	require.Positive(t, r.Followed)
	for i, l := range r.Lives {
		require.Equal(t, i < 2, l.Killed)
		if i < 2 {
			require.GreaterOrEqual(t, l.Acked, int64(demoKills[i].at*20_000))
			require.Less(t, l.Acked, r.Lines)
			require.GreaterOrEqual(t, int64(r.Lives[i+1].Resumed), l.Acked, "what is acknowledged is not appended again")
		}
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestDemoKeepsAndShows(t *testing.T) {
	dir := t.TempDir()
	code, stdout, stderr := runWpd("demo", writeLines(t, 10), "--dir", dir, "--keep")
	require.Zero(t, code, stderr)
	require.Equal(t, 2, strings.Count(stdout, "kill -9"))
	require.Contains(t, stdout, "All of it held")
	require.NotContains(t, stdout, "\x1b", "no terminal, no colours")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Contains(t, stdout, left[0].Name())
}

func TestDemoRefuses(t *testing.T) {
	short := writeLines(t, 9)
	code, _, stderr := runWpd("demo", short)
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "needs at least 10")

	long := filepath.Join(t.TempDir(), "long")
	require.NoError(t, os.WriteFile(long, make([]byte, 3<<20), 0o600))
	code, _, stderr = runWpd("demo", long)
	require.NotZero(t, code)
	require.Contains(t, stderr, "line 1 of")
}

// The demo has to notice if wpd breaks its word: here logs are not what the
// file is, or not what was acknowledged.
func TestDemoNoticesLies(t *testing.T) {
	n, err := node.Open(t.Context(), node.Config{Bucket: "mem://"})
	require.NoError(t, err)
	defer n.Close() //nolint:errcheck // in memory
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte("a\nb\nc\n"), 0o600))
	src, err := scanSource(path, path)
	require.NoError(t, err)
	require.EqualValues(t, 3, src.lines)

	for i, c := range []struct {
		entries string
		acks    []uint64
		want    string // "": nothing is wrong
	}{
		{"abc", []uint64{1, 2, 3}, ""},
		{"abc", []uint64{1, 0, 0}, ""},
		{"ab", []uint64{1, 2, 0}, "2 entries, but the file has 3"},
		{"abcc", []uint64{1, 2, 3}, "behind the last line"},
		{"aabc", []uint64{1, 2, 3}, "LSN 2 does not hold line 2"},
		{"axc", []uint64{1, 0, 3}, "LSN 2 does not hold line 2"},
		{"abc", []uint64{1, 3, 0}, "line 2 was acknowledged at LSN 3"},
	} {
		log, err := n.Client().Create(t.Context(), fmt.Sprintf("lie/%d", i), wpd.LogConfig{})
		require.NoError(t, err)
		w, err := log.Writer(t.Context())
		require.NoError(t, err)
		for _, e := range c.entries {
			_, err := w.Append(t.Context(), []byte(string(e)))
			require.NoError(t, err)
		}
		d := &demo{source: src, acks: acks{lsn: c.acks}}
		_, err = d.compare(t.Context(), log)
		if c.want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, c.want)
		code, _ := classify(err)
		require.Equal(t, exitDataLoss, code)
	}
}

func TestAcks(t *testing.T) {
	a := acks{lsn: make([]uint64, 5)}
	require.NoError(t, a.add(&ingestAcked{Seq: 1, LSN: 1, Count: 2}))
	require.NoError(t, a.add(&ingestAcked{Seq: 4, LSN: 4, Count: 1}))
	require.EqualValues(t, 3, a.count)
	require.ErrorContains(t, a.add(&ingestAcked{Seq: 2, LSN: 2, Count: 1}), "twice")
	require.ErrorContains(t, a.add(&ingestAcked{Seq: 5, LSN: 5, Count: 2}), "line 6")
	require.ErrorContains(t, a.add(&ingestAcked{Seq: 0, LSN: 1, Count: 1}), "line 0")
}
