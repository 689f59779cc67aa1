//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package filebucket

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func supported() error { return nil }

// tryLock takes an exclusive lock if nobody has any.
func tryLock(f *os.File) (bool, error) {
	err := flock(f, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// shareLock takes a shared lock, in place of any other that f has. It waits for
// somebody's cleaning.
func shareLock(f *os.File) error { return flock(f, unix.LOCK_SH) }

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}
