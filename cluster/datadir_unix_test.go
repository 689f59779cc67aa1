//go:build unix

package cluster

import (
	"os"
	"syscall"
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

// TestLockEndsWithClose: a child that is being started, and has our files until
// it becomes another program, does not keep the directory locked.
func TestLockEndsWithClose(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	m := open(t, dir, b)
	child, err := syscall.Dup(int(m.dir.lock.Fd()))
	require.NoError(t, err)
	defer syscall.Close(child) //nolint:errcheck // it was only held
	require.NoError(t, m.Close())
	require.NoError(t, open(t, dir, b).Close())
}
