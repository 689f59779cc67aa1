//go:build darwin || freebsd || linux

package cluster

import (
	"fmt"
	"syscall"
)

// freeSpace is how many bytes this process may still write where dir is.
func freeSpace(dir string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return uint64(max(s.Bavail, 0)) * uint64(s.Bsize), nil
}
