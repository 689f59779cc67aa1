package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// runEnv makes the test binary run as wpd: commands start themselves again.
const runEnv = "WPD_TEST_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(runEnv) != "" && !slices.Contains(os.Args, "-test.fuzzworker") {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Setenv(runEnv, "1") //nolint:errcheck // for our children
	os.Exit(m.Run())
}

// runWpd runs a command line in this process.
func runWpd(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestExitCodesOfCommandLines(t *testing.T) {
	for _, c := range []struct {
		args   string
		code   int
		stderr string // must be in it
	}{
		{"", 0, ""},
		{"--help", 0, ""},
		{"version", 0, ""},
		{"bench append --help", 0, ""},
		{"nonsense", 2, `unknown command "nonsense"`},
		{"version extra", 2, "try: wpd version --help"},
		{"version --nonsense", 2, "unknown flag: --nonsense"},
		{"version -o xml", 2, "want table or json"},
		{"version --color maybe", 2, "want auto or always or never"},
		{"bench append --size 31", 2, "want 32 to"},
		{"bench append --size 9MiB", 2, "want 32 to"},
		{"bench append --size 1xb", 2, "is no number of bytes"},
		{"bench append --bytes -1", 2, "out of range"},
		{"bench append --logs 0", 2, "--logs"},
		{"bench append --producers 0", 2, "--producers"},
		{"bench append --rounds 0", 2, "--rounds"},
		{"bench append --rate 10 --sync", 2, "exclude each other"},
		{"bench append --duration -1s", 2, "negative"},
		{"bench append --in-flight 1KiB --size 2KiB", 2, "less than one entry"},
		{"bench append --bucket file:///nowhere", 2, "go together"},
		{"bench append --bucket nonsense://x --data-dir /x", 2, "unknown scheme"},
		{"bench append --embedded --addr 127.0.0.1:1", 2, "--embedded and --addr exclude each other"},
		{"bench append --addr 127.0.0.1:1 --bucket mem://", 2, "--bucket is for an embedded node"},
		{"bench append --addr 127.0.0.1:1 --window 65", 2, "1 to 64"},
		{"bench append --addr ,", 2, "--addr is empty"},
		{"bench append --keep", 2, "--keep is about a server"},
		{"bench append --addr 127.0.0.1:1", 5, "127.0.0.1:1: connect: connection refused"},
		{"bench followers --addr 127.0.0.1:1", 5, "127.0.0.1:1: connect: connection refused"},
		{"bench followers --followers 0", 2, "--followers"},
		{"bench failover --leading 1.1", 2, "want 0 to 1"},
		{"bench followers --per-connection 201", 2, "--per-connection"},
		{"bench followers --duration 0", 2, "--duration"},
		{"bench all --daemon --addr 127.0.0.1:1", 2, "exclude each other"},
		{"stat -i 1ms", 2, "--interval"},
		{"stat --addr 127.0.0.1:1", 5, "127.0.0.1:1: connect: connection refused"},
		{"status --addr 127.0.0.1:1", 5, "127.0.0.1:1: connect: connection refused"},
		{"status --addr nonsense", 2, "want host:port"},
		{"version --addr 127.0.0.1:1", 5, "127.0.0.1:1: connect: connection refused"},
		{"health --wait -1s", 2, "--wait"},
		{"health --addr nonsense", 2, "want host:port"},
		{"inspect --addr 127.0.0.1:1 --bucket mem:// cluster.json", 2, "exclude each other"},
		{"inspect --addr 127.0.0.1:1 cluster.json", 5, "127.0.0.1:1: connect: connection refused"},
		{"verify --addr 127.0.0.1:1 --bucket mem://", 2, "exclude each other"},
		{"verify --addr 127.0.0.1:1", 5, "127.0.0.1:1: connect: connection refused"},
		{"verify --keep 0", 2, "--keep"},
		{"bench tail --rate 0", 2, "--rate"},
		{"bench read --duration 1s", 2, "--duration"},
		{"bench all --scale 0", 2, "--scale"},
		{"demo /does/not/exist", 3, "no such file"},
		{"demo a b", 2, "at most 1 arg"},
	} {
		t.Run(c.args, func(t *testing.T) {
			code, _, stderr := runWpd(strings.Fields(c.args)...)
			require.Equal(t, c.code, code, stderr)
			require.Contains(t, stderr, c.stderr)
			if code == 0 {
				require.Empty(t, stderr)
			} else {
				require.Regexp(t, `^wpd.*: .*\n  why: .*\n(  try: .*\n)?$`, stderr)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	_, table, _ := runWpd("version")
	require.Regexp(t, `^wpd .* go1\.\S+ \w+/\w+\n$`, table)
	_, js, _ := runWpd("version", "-o", "json")
	require.Regexp(t, `^\{"version":".*","go":"go1.*","platform":".*"\}\n$`, js)
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{errors.New("anything"), 1},
		{wpd.ErrInvalid, 2},
		{wpd.ErrNotFound, 3},
		{wpd.ErrDeleted, 3},
		{&wpd.TrimmedError{}, 3},
		{&wpd.BeyondTailError{}, 3},
		{fs.ErrNotExist, 3},
		{wpd.ErrExists, 4},
		{&wpd.TailError{}, 4},
		{&wpd.FencedError{}, 4},
		{&wpd.SequenceError{}, 4},
		{&wpd.StaleError{}, 4},
		{&cluster.LockedError{}, 4},
		{&cluster.OtherClusterError{}, 4},
		{&cluster.CopiedError{}, 4},
		{wpd.ErrUnavailable, 5},
		{wpd.ErrClosed, 5},
		{&wpd.BusyError{}, 5},
		{context.DeadlineExceeded, 5},
		{api.ErrForbidden, 1},
		{&wpd.WrongClusterError{}, 4},
		{os.ErrDeadlineExceeded, 1},
		{wpd.ErrUncertain, 6},
		{fmt.Errorf("%w: %w", wpd.ErrUncertain, wpd.ErrUnavailable), 6},
		{&wpd.DataLossError{Err: fs.ErrNotExist}, 7},
		{&fragment.CorruptError{}, 7},
		{&wpd.LimitError{}, 8},
		{syscall.ENOSPC, 8},
		{&exitError{7, wpd.ErrNotFound}, 7},
	} {
		code, _ := classify(fmt.Errorf("wrapped: %w", c.err))
		require.Equal(t, c.code, code, "%T %v", c.err, c.err)
	}
	_, try := classify(advise(wpd.ErrUnavailable, "something else"))
	require.Equal(t, "something else", try)
}

func TestBrokenPipeIsQuiet(t *testing.T) {
	require.False(t, isBrokenPipe(&net.OpError{Err: os.NewSyscallError("write", syscall.EPIPE)}), "a connection is no output of ours")
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	defer w.Close() //nolint:errcheck // a pipe
	var stderr bytes.Buffer
	require.Equal(t, exitPipe, run([]string{"version"}, w, &stderr))
	require.Empty(t, stderr.String())
}

// An interrupted command cleans up behind itself: its temporary directory, and
// the process that it had started.
func TestInterrupt(t *testing.T) {
	for _, args := range []string{"bench append --duration 1h", "demo"} {
		t.Run(args, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command(os.Args[0], strings.Fields(args)...)
			cmd.Env = append(os.Environ(), "TMPDIR="+dir)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			require.NoError(t, cmd.Start())
			require.Eventually(t, func() bool {
				nodes, _ := filepath.Glob(filepath.Join(dir, "*", "objects", "chains", "*", "*"))
				return len(nodes) > 0
			}, 20*time.Second, 10*time.Millisecond)
			require.NoError(t, cmd.Process.Signal(os.Interrupt))
			err := cmd.Wait()
			require.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode(), "%v: %s", err, stderr.String())
			require.Contains(t, stderr.String(), "interrupted")
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}
