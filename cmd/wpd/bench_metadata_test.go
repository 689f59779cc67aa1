package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
)

func TestBenchMetadata(t *testing.T) {
	t.Parallel()
	r := benchSeveral[metadataResult](t, "metadata --logs 30 --rounds 2")
	require.True(t, r.Verified, r.VerifyProblem)
	require.Equal(t, 30, r.Logs)
	require.Len(t, r.RSSNodes, 3)
	require.Len(t, r.RestartRound, 2)
	require.Len(t, r.SnapshotRound, 2)
	require.Positive(t, r.RSS)
	require.Positive(t, r.RSSRestarted)
	require.GreaterOrEqual(t, r.RSSPeak, r.RSS)
	require.GreaterOrEqual(t, r.RaftIndex, uint64(60), "each log is made, and attached")
	require.GreaterOrEqual(t, r.Snapshot, int64(30*20))
	require.Positive(t, r.RestartMs)
	require.Positive(t, r.SnapshotMs)

	for args, want := range map[string]string{"--logs 0": "want 1 to 1,000,000", "--rounds 0": "want 1 to 1,000", "--nodes 2": "want 3 to 9"} {
		code, _, stderr := runWpd(append([]string{"bench", "metadata"}, strings.Fields(args)...)...)
		require.Equal(t, 2, code)
		require.Contains(t, stderr, want)
	}
}

// TestMetadataCheck: each log must be there under its name, and no other; and with
// its entry.
func TestMetadataCheck(t *testing.T) {
	w := benchWorld(t, true)
	c, err := wpd.Dial(t.Context(), w.flags[1])
	require.NoError(t, err)
	b := &metadataBenchmark{logs: 3}
	check := func() error { return b.check(t.Context(), w.flags[1]) }
	require.NoError(t, makeLog(t.Context(), c, metadataLog(0)))
	require.NoError(t, makeLog(t.Context(), c, metadataLog(2)))
	require.NoError(t, makeLog(t.Context(), c, "another"))
	require.ErrorContains(t, check(), "log "+metadataLog(1)+" is not there; there are 3 logs, want 3")
	require.NoError(t, makeLog(t.Context(), c, metadataLog(1)))
	require.ErrorContains(t, check(), "there are 4 logs, want 3")
	require.NoError(t, c.Delete(t.Context(), "another"))
	require.NoError(t, check())
	require.NoError(t, makeLog(t.Context(), c, metadataLog(2)))
	require.ErrorContains(t, check(), "has 2 entries")
	require.NoError(t, c.Close())
}
