//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package filebucket

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// supported refuses systems on which an fsync of a directory is not known to
// make its entries durable.
func supported() error {
	return fmt.Errorf("file buckets on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func tryLock(*os.File) (bool, error) { return false, supported() }

func shareLock(*os.File) error { return supported() }
