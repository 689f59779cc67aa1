//go:build unix

package nobody_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/testcluster/nobody"
)

// TestRun: whoever we are, the test is denied what its own user forbids.
func TestRun(t *testing.T) {
	nobody.Run(t, func(t *testing.T) {
		require.NotZero(t, os.Geteuid())
		path := filepath.Join(t.TempDir(), "secret")
		require.NoError(t, os.WriteFile(path, nil, 0))
		_, err := os.ReadFile(path)
		require.ErrorIs(t, err, fs.ErrPermission)
	})
}
