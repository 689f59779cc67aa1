package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// tourEnv makes the test binary run the script that it names, in a network of
// its own.
const tourEnv = "WPD_TEST_TOUR"

// TestReadmeTour runs README's tour as it is written. Its ports are fixed, so
// it gets a network namespace of its own, and all its processes a group that
// ends with it.
func TestReadmeTour(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, tour, found := strings.Cut(string(readme), "## Run it\n\n```sh\n")
	require.True(t, found)
	tour, _, found = strings.Cut(tour, "```")
	require.True(t, found)
	for _, must := range []string{"wpd dev", "log create", "wpd append", "wpd tail", "kill -9", "--resume", "wpd read", "wpd verify", "wpd bench"} {
		require.Contains(t, tour, must)
	}

	dir := t.TempDir()
	binary, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o700))
	require.NoError(t, os.Symlink(binary, filepath.Join(dir, "bin", "wpd")))
	script := filepath.Join(dir, "tour.sh")
	require.NoError(t, os.WriteFile(script, []byte("set -euo pipefail\n"+tour), 0o600))

	var out bytes.Buffer
	cmd := exec.Command("/proc/self/exe")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	cmd.Env = append(os.Environ(), tourEnv+"="+script, "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Cloneflags: syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	}
	require.NoError(t, cmd.Start())
	bound := time.AfterFunc(4*time.Minute, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	err = cmd.Wait()
	bound.Stop()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // whoever is left
	require.NoError(t, err, "%s", &out)
	require.Contains(t, out.String(), "2,000,000", "what log show says")
	require.Contains(t, out.String(), "whole", "what verify says")
	require.Contains(t, out.String(), "Killed", "the shell saw the node die")
}

// runTour brings the loopback up and becomes the script.
func runTour(script string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return err
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		return err
	}
	if err := os.Unsetenv(tourEnv); err != nil {
		return err
	}
	return unix.Exec(bash, []string{"bash", script}, os.Environ())
}

func init() {
	if script := os.Getenv(tourEnv); script != "" {
		if err := runTour(script); err != nil {
			os.Stderr.WriteString("tour: " + err.Error() + "\n")
		}
		os.Exit(1)
	}
}
