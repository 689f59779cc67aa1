package node_test

import (
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/testcluster/tamper/fakes3"
)

// TestUnsafeBucket: a node refuses a bucket that breaks a promise before it does
// anything, unless it is told in so many words to take it; then it warns.
func TestUnsafeBucket(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "any")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "any")
	safe := httptest.NewServer(fakes3.New())
	defer safe.Close()
	for _, flaw := range []fakes3.Flaw{fakes3.Ignores, fakes3.Races, ""} {
		t.Run(string(flaw), func(t *testing.T) {
			addr, broken := safe.Listener.Addr().String(), func() int { return 0 }
			if flaw != "" {
				u := fakes3.NewUnsafe(flaw)
				h := httptest.NewServer(u)
				defer h.Close()
				addr, broken = h.Listener.Addr().String(), u.Broken
			}
			dir := filepath.Join(t.TempDir(), "node")
			var log lockedBuffer
			c := node.Config{Bucket: fakes3.URL(addr, "wpd"), DataDir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))}
			if flaw != "" {
				_, err := node.Open(t.Context(), c)
				var e *node.UnsafeBucketError
				require.ErrorAs(t, err, &e)
				require.Contains(t, e.URL, "s3://wpd")
				require.NotEmpty(t, e.Err.Promise)
				require.NoDirExists(t, dir)
				require.Positive(t, broken())
			}
			for accept := range 2 {
				c.UnsafeBucket = flaw != "" || accept == 1
				n, err := node.Open(t.Context(), c)
				require.NoError(t, err)
				require.NoError(t, n.Close())
			}
			require.Equal(t, map[bool]int{true: 2, false: 0}[flaw != ""], strings.Count(log.String(), "UNSAFE BUCKET"), log.String())
			require.Equal(t, flaw == "", strings.Contains(log.String(), "has shown no flaw"), log.String())
		})
	}
}
