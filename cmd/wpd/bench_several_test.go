package main

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

// benchSeveral runs a benchmark that starts a cluster, and returns what it
// printed.
func benchSeveral[R any](t *testing.T, line string) (r R) {
	t.Helper()
	dir := t.TempDir()
	args := append([]string{"bench"}, strings.Fields(line)...)
	code, stdout, stderr := runWpd(append(args, "--dir", dir, "-o", "json")...)
	require.Zero(t, code, stderr)
	require.Empty(t, stderr)
	require.Equal(t, 1, strings.Count(stdout, "\n"))
	require.NoError(t, json.Unmarshal([]byte(stdout), &r))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "all is removed")

	// Another run with the same flags can be compared with it: what it would look
	// for is what was printed.
	old, err := loadBaseline(inputFile(t, stdout))
	require.NoError(t, err)
	require.Len(t, old.results, 1)
	none := inputFile(t, `{"case":"none","verified":true}`)
	code, _, stderr = runWpd(append(args, "--compare", none)...)
	require.Equal(t, exitUsage, code, stderr)
	require.Contains(t, stderr, "it has nothing of "+old.results[0].key.String()+";")
	compared, err := compareResults(old.results[0].raw, old.results[0].raw)
	require.NoError(t, err)
	require.NotEmpty(t, compared)
	return r
}

// TestBenchDrain drains each node once, under load.
func TestBenchDrain(t *testing.T) {
	t.Parallel()
	r := benchSeveral[drainResult](t, "drain --logs 20 --rate 400 --rounds 2 --calm 200ms")
	require.True(t, r.Verified)
	require.Equal(t, 2, r.Rounds)
	require.Len(t, r.Drains, 2)
	require.Greater(t, r.Acknowledged, int64(20))
	require.Positive(t, r.CalmP99)
	require.Positive(t, r.Drain)
	require.LessOrEqual(t, r.P99, r.Max)
}

// TestBenchReaders follows a log at a node that was started anew.
func TestBenchReaders(t *testing.T) {
	t.Parallel()
	r := benchSeveral[readersResult](t, "readers --readers 110 --rate 100 --duration 500ms")
	require.True(t, r.Verified)
	require.Equal(t, 110, r.Followers)
	require.Positive(t, r.Entries)
	require.Positive(t, r.Fragments)
	require.NotNil(t, r.Gets, r.GetsMissing)
	require.Positive(t, *r.Gets, "the follower's node was cold, and does not write")
	require.Positive(t, r.RSSPeak)
	require.GreaterOrEqual(t, r.Max, r.P50)
	require.Positive(t, r.AppendP50)
}

// TestBenchTakeover kills the writer of some logs.
func TestBenchTakeover(t *testing.T) {
	t.Parallel()
	r := benchSeveral[takeoverResult](t, "takeover --logs 20 --fragments 30 --delay 5ms --rounds 1")
	require.True(t, r.Verified)
	require.Equal(t, 1, r.Rounds)
	require.GreaterOrEqual(t, r.Fragments, uint64(30))
	require.Greater(t, r.Lapse, 1000.0, "nothing takes over before a lease has lapsed: was anything killed?")
	require.GreaterOrEqual(t, r.AllLogs, r.P50)
	require.Positive(t, r.Sealed)
	require.Greater(t, r.Entries, int64(40))
}

// TestBenchScale appends to three nodes, and to one.
func TestBenchScale(t *testing.T) {
	t.Parallel()
	r := benchSeveral[scaleResult](t, "scale --bytes 2MiB --rounds 2 --warmup 10ms --window 2")
	require.True(t, r.Verified)
	require.Equal(t, 2, r.Rounds)
	require.Equal(t, 3, r.Writers, "each node writes one of the logs")
	require.EqualValues(t, 2*2048, r.Entries)
	require.Positive(t, r.Ratio)
	require.Positive(t, r.RawMBPerS)
}

// TestBenchSeveralUsage: what makes no sense is refused before anything starts.
func TestBenchSeveralUsage(t *testing.T) {
	for line, want := range map[string]string{
		"drain --nodes 2":                           "--nodes",
		"drain --logs 0":                            "--logs",
		"drain --rate 0":                            "--rate",
		"drain --rounds 0":                          "--rounds",
		"drain --calm 0s":                           "--calm",
		"readers --readers 0":                       "--readers",
		"readers --rate 10001":                      "--rate",
		"readers --duration 0s":                     "--duration",
		"readers --size 31":                         "--size",
		"takeover --logs 0":                         "--logs",
		"takeover --fragments 0":                    "--fragments",
		"takeover --delay 2s":                       "--delay",
		"scale --nodes 10":                          "--nodes",
		"scale --size 31":                           "--size",
		"drain --compare " + "/nowhere/to/be/found": "no such file",
	} {
		code, _, stderr := runWpd(append([]string{"bench"}, strings.Fields(line)...)...)
		require.Equal(t, exitUsage, code, line)
		require.Contains(t, stderr, want, line)
	}
}

// TestRemoteUsage: several nodes are summed up, and one with two addresses counts
// once.
func TestRemoteUsage(t *testing.T) {
	at := func(identity string, creates, rss uint64) benchAdmin {
		return benchStatus{s: &adminv1.GetStatusResponse{Identity: identity, Stats: &adminv1.Stats{Creates: creates, RssPeakBytes: rss, CpuMicros: 10}}}
	}
	r := &remote{admin: at("a", 5, 7)}
	u, err := r.usage(t.Context())
	require.NoError(t, err)
	require.Equal(t, nodeUsage{cpu: 10 * time.Microsecond, creates: 5, rss: 7}, u)
	r.nodes = []benchAdmin{at("a", 5, 7), at("b", 1, 9), at("a", 5, 7)}
	u, err = r.usage(t.Context())
	require.NoError(t, err)
	require.Equal(t, nodeUsage{cpu: 20 * time.Microsecond, creates: 6, rss: 9}, u)
	r.nodes = append(r.nodes, benchStatus{err: wpd.ErrUnavailable})
	_, err = r.usage(t.Context())
	require.ErrorIs(t, err, wpd.ErrUnavailable)
}

// benchStatus is a server that says how it is.
type benchStatus struct {
	benchAdmin
	s   *adminv1.GetStatusResponse
	err error
}

func (s benchStatus) Status(context.Context) (*adminv1.GetStatusResponse, error) { return s.s, s.err }

// TestSumMetric: of a counter, only the series with a label.
func TestSumMetric(t *testing.T) {
	const metrics = "x{op=\"read\",result=\"ok\"} 3\nx{op=\"create\",result=\"ok\"} 4\nx{op=\"read\",result=\"not_found\"} 5\n"
	for label, want := range map[string]uint64{"": 12, `op="read"`: 8, `op="list"`: 0} {
		n, err := sumMetric(strings.NewReader(metrics), "x", label)
		require.NoError(t, err)
		require.Equal(t, want, n, label)
	}
}
