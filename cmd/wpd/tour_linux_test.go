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

// TestReadmeTour runs README's tour as it is written.
func TestReadmeTour(t *testing.T) {
	out := runReadme(t, "## Run it",
		"wpd dev", "log create", "wpd append", "wpd tail", "kill -9", "--resume", "wpd read", "wpd verify", "wpd bench")
	require.Contains(t, out, "2,000,000", "what log show says")
	require.Contains(t, out, "whole", "what verify says")
	require.Contains(t, out, "Killed", "the shell saw the node die")
}

// TestReadmeCluster runs README's cluster part as it is written.
func TestReadmeCluster(t *testing.T) {
	out := runReadme(t, "## Run several",
		"wpd serve", "wpd cluster nodes", "wpd append", "kill -9", "wpd read", "wpd verify")
	require.Contains(t, out, "leader", "what cluster nodes says")
	require.Contains(t, out, "Killed", "the shell saw the writer die")
	require.Contains(t, out, "whole", "what verify says")
}

// runReadme runs the script below a title of README, which must have some words,
// and returns what it said. Its ports are fixed, so it gets a network namespace
// of its own, and all its processes a group that ends with it.
func runReadme(t *testing.T, title string, must ...string) string {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, tour, found := strings.Cut(string(readme), title+"\n")
	require.True(t, found)
	_, tour, found = strings.Cut(tour, "```sh\n")
	require.True(t, found)
	tour, _, found = strings.Cut(tour, "```")
	require.True(t, found)
	for _, word := range must {
		require.Contains(t, tour, word)
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
	cmd.WaitDelay = 5 * time.Second // a script that failed leaves nodes behind
	require.NoError(t, cmd.Start())
	bound := time.AfterFunc(4*time.Minute, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	err = cmd.Wait()
	bound.Stop()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // whoever is left
	require.NoError(t, err, "%s", &out)
	return out.String()
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
