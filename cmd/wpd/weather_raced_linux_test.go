//go:build race

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// wpdBinary builds wpd as make build does: nodes that look for races, as the test
// itself does, are several times slower, and the rooms' own tests look for them.
func wpdBinary(t *testing.T) string {
	binary := filepath.Join(t.TempDir(), "wpd")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}
