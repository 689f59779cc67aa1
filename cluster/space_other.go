//go:build !(darwin || freebsd || linux)

package cluster

import "errors"

// freeSpace can't tell: nothing is refused here before the disk is full.
func freeSpace(string) (uint64, error) { return 0, errors.ErrUnsupported }
