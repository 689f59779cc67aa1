package wpd_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReadmeProgram compiles README's program and runs it.
func TestReadmeProgram(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, program, found := strings.Cut(string(readme), "```go\n")
	require.True(t, found)
	program, _, found = strings.Cut(program, "```")
	require.True(t, found)
	require.Equal(t, 10, strings.Count(program, "\n"), "it is called a ten-line program")

	dir := t.TempDir()
	require.Equal(t, 2, strings.Count(program, "/var/lib/app"))
	program = strings.ReplaceAll(program, "/var/lib/app", dir)
	source := `package main

import (
	"context"
	"fmt"
	"log"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/node"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	ctx := context.Background()
` + program + "}\n"
	file := filepath.Join(dir, "main.go")
	require.NoError(t, os.WriteFile(file, []byte(source), 0o600))
	here, err := os.Getwd()
	require.NoError(t, err)
	// A package that is there for this build only.
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, "readmeprogram", "main.go"): file}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay"), overlay, 0o600))
	cmd := exec.Command("go", "run", "-overlay", filepath.Join(dir, "overlay"), "./readmeprogram")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Equal(t, "1 order 1\n", string(out))
}
