package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBenchMetadata(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := runWpd("bench", "metadata", "--logs", "30", "--rounds", "2", "--dir", t.TempDir(), "-o", "json")
	require.Zero(t, code, stderr)
	var r metadataResult
	require.NoError(t, json.Unmarshal([]byte(stdout), &r))
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
		code, _, stderr = runWpd(append([]string{"bench", "metadata"}, strings.Fields(args)...)...)
		require.Equal(t, 2, code)
		require.Contains(t, stderr, want)
	}
}
