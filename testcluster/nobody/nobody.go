//go:build unix

// Package nobody runs tests of what a file system denies, which root, and so
// most CI, is never denied.
package nobody

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// id is the user and the group that own nothing.
const id = 65534

// Run runs a test as a user without privileges: right here if we are one, else
// in a process of its own, which must say that it has passed. t.TempDir is that
// user's own then; what t holds already stays behind. t is a whole test, not
// a part of one.
func Run(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() != 0 {
		test(t)
		return
	}
	cmd := exec.CommandContext(t.Context(), self(t), "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=2m")
	cmd.Dir = ownDir(t)
	cmd.Env = append(os.Environ(), "TMPDIR="+cmd.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), fmt.Sprintf("--- PASS: %s (", t.Name())) {
		t.Fatalf("as user %d it has not passed: %v\n%s", id, err, out)
	}
}

// ownDir makes a directory of that user's. That of t.TempDir lies below one that
// only we may enter.
func ownDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nobody")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chown(dir, id, id); err != nil {
		t.Fatal(err)
	}
	return dir
}

// self is the running test. It, too, lies below a directory that only we may
// enter; Linux has a way to it that does not go through there.
func self(t *testing.T) string {
	t.Helper()
	if runtime.GOOS == "linux" {
		return "/proc/self/exe"
	}
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
