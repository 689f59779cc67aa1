package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNodeEnviron(t *testing.T) {
	stays := []string{"PATH=/bin", "WPD_ADDR=x", "WPD_TEST_BUCKET=mem://", "WPD_SERVICE_HOST=10.0.0.1", "WPDX=1", "A=WPD_BUCKET=2"}
	goes := []string{"WPD_CONFIG=/etc/wpd.yaml", "WPD_BUCKET=mem://", "WPD_LEASE_TTL=1s", "WPD_NO_SETTING="}
	require.Equal(t, stays, nodeEnviron(append(append([]string(nil), stays...), goes...)))
}

// TestNodesIgnoreSettings: what a user has set for a server of theirs is not for
// the nodes that wpd dev and the benchmarks start.
func TestNodesIgnoreSettings(t *testing.T) {
	t.Setenv("WPD_CONFIG", "/does/not/exist")
	t.Setenv("WPD_NO_SETTING", "1")
	said := &tailBuffer{most: 64 << 10}
	x := (&devNode{name: "n1", args: []string{"serve"}}).again()
	require.NoError(t, x.start(&lineWriter{w: said}))
	<-x.ended
	require.Contains(t, said.String(), "no bucket")
}

// TestDevNodesRefuses: what several nodes have no use for is refused, and nothing
// is begun.
func TestDevNodesRefuses(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, flag := range []string{"--http-listen=none", "--insecure", "--log-format=json"} {
		code, _, stderr := runWpd("dev", "--nodes", "3", flag)
		require.Equal(t, exitUsage, code, stderr)
		require.Regexp(t, "--(http-listen|insecure|log-format) is for one node, not for --nodes 3", stderr)
	}
}
