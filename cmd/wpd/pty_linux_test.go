package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// terminal runs a command whose stdin and stderr are a terminal.
type terminal struct {
	t      *testing.T
	cmd    *exec.Cmd
	master *os.File

	mu   sync.Mutex // guards screen
	seen bytes.Buffer
	over chan struct{}
}

func (w *world) startTerminal(stdout io.Writer, args ...string) *terminal {
	t := w.t
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	fd := int(master.Fd())
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	defer slave.Close() //nolint:errcheck // the child has it
	x := &terminal{t: t, master: master, over: make(chan struct{}), cmd: exec.Command(os.Args[0], append(args, w.flags...)...)}
	x.cmd.Env = append(os.Environ(), "TERM=xterm", "NO_COLOR=")
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = slave, stdout, slave
	if stdout == nil {
		x.cmd.Stdout = slave
	}
	require.NoError(t, x.cmd.Start())
	go func() {
		defer close(x.over)
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			x.mu.Lock()
			x.seen.Write(b[:n])
			x.mu.Unlock()
			if err != nil { // EIO, once the child is gone
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = x.cmd.Process.Kill() // it has ended, unless the test failed
		_ = x.cmd.Wait()
		<-x.over
		_ = master.Close()
	})
	return x
}

func (x *terminal) screen() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.seen.String()
}

// waitFor waits until the screen shows something.
func (x *terminal) waitFor(text string) {
	x.t.Helper()
	require.Eventually(x.t, func() bool { return strings.Contains(x.screen(), text) }, 20*time.Second, 5*time.Millisecond, "%q", text)
}

func (x *terminal) typeIn(text string) {
	_, err := io.WriteString(x.master, text)
	require.NoError(x.t, err)
}

// end waits for the end, and returns the exit code and all that was shown.
func (x *terminal) end() (int, string) {
	_ = x.cmd.Wait() // the exit code says it
	<-x.over
	return x.cmd.ProcessState.ExitCode(), x.screen()
}

// What destroys asks on a terminal, and does nothing without the right answer.
func TestConfirmOnTerminal(t *testing.T) {
	w := serverWorld(t)
	w.ok("append", "a", inputFile(t, "1\n2\n3\n"), "--create")
	for _, c := range []struct {
		args, typed string
		code        int
		shown       string
		left        string
	}{
		{"log trim a --before 3", "\n", exitUnexpected, "not confirmed; nothing was done", "1\n2\n3\n"},
		{"log trim a --before 3", "y\n", exitUnexpected, "not confirmed", "1\n2\n3\n"},
		{"log trim a --before 3", "\x04", exitUnexpected, "not confirmed", "1\n2\n3\n"},
		{"log trim a --before 3", "\x03", exitInterrupted, "interrupted", "1\n2\n3\n"},
		{"log trim a --before 3", "yes\n", exitDone, "trimmed 2 entries of log a, LSNs [1, 3)", "3\n"},
		{"log delete a", "yes\n", exitUnexpected, "not confirmed", "3\n"},
		{"log delete a", " a \n", exitDone, "removed log a", ""},
	} {
		x := w.startTerminal(io.Discard, strings.Fields(c.args)...)
		x.waitFor("to go ahead: ")
		if c.typed == "\x03" { // the pty is not the child's controlling terminal
			require.NoError(t, x.cmd.Process.Signal(os.Interrupt))
		} else {
			x.typeIn(c.typed)
		}
		code, shown := x.end()
		require.Equal(t, c.code, code, "%+v: %s", c, shown)
		require.Contains(t, shown, c.shown)
		require.Contains(t, shown, "for ever")
		if c.left != "" {
			require.Equal(t, c.left, w.ok("read", "a"))
		}
	}
	w.fails(exitNotFound, "log", "show", "a")
}

func TestAppendOnTerminal(t *testing.T) {
	w := serverWorld(t)
	x := w.startTerminal(nil, "append", "a", "--create")
	x.waitFor("reading lines from the terminal; Ctrl-D ends")
	x.typeIn("typed\n\x04")
	code, shown := x.end()
	require.Zero(t, code, shown)
	require.Contains(t, shown, "appended 1 entry, LSNs [1, 2)")
	require.Equal(t, "typed\n", w.ok("read", "a"))

	// On a terminal, even a line that had no newline gets one; titles stand
	// out, unless that is not wanted.
	w.ok("append", "a", inputFile(t, "cut"))
	_, shown = w.startTerminal(nil, "read", "a").end()
	require.Equal(t, "typed\r\ncut\r\n", shown)
	_, shown = w.startTerminal(nil, "log", "list").end()
	require.Contains(t, shown, "\x1b[2mname")
	_, shown = w.startTerminal(nil, "log", "list", "--color", "never").end()
	require.NotContains(t, shown, "\x1b[")
}

// Long work is seen to go on, on a terminal, and leaves no trace there.
func TestProgressOnTerminal(t *testing.T) {
	w := serverWorld(t)
	r, in, err := os.Pipe()
	require.NoError(t, err)
	defer in.Close() //nolint:errcheck // a pipe
	x := w.startTerminal(nil, "append", "a", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), r.Fd()), "--create")
	_, err = io.WriteString(in, "an entry\n")
	require.NoError(t, err)
	x.waitFor("appended 1 entry, 8 B, ")
	require.NoError(t, in.Close())
	require.NoError(t, r.Close())
	code, shown := x.end()
	require.Zero(t, code, shown)
	last := shown[strings.LastIndex(shown, "\x1b[K")+3:]
	require.True(t, strings.HasPrefix(last, "appended 1 entry, LSNs [1, 2), 8 B in "), "%q", last)
}
