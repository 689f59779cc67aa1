//go:build !race

package main

import (
	"os"
	"testing"
)

// wpdBinary is the test binary, which is wpd too.
func wpdBinary(*testing.T) string { return os.Args[0] }
