//go:build unix

package cluster

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/testcluster/nobody"
)

func TestUnreadableDir(t *testing.T) {
	nobody.Run(t, func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.Chmod(dir, 0))
		t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
		e := refuse[*DataDirError](t, Config{Dir: dir, Bucket: newBucket()})
		require.ErrorIs(t, e, os.ErrPermission)
	})
}
