//go:build unix

package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pause stops the server; it says nothing until goOn.
func (d *devServer) pause() {
	d.t.Helper()
	require.NoError(d.t, d.cmd.Process.Signal(syscall.SIGSTOP))
	var status syscall.WaitStatus
	_, err := syscall.Wait4(d.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(d.t, err)
	require.True(d.t, status.Stopped())
}

func (d *devServer) goOn() { require.NoError(d.t, d.cmd.Process.Signal(syscall.SIGCONT)) }

// A server that says nothing any more is given up after --patience, and what
// is open is said to be.
func TestAppendGivesUp(t *testing.T) {
	t.Parallel()
	d := newDevServer(t)
	p := d.world.start("append", "a", "--create", "-o", "json", "--patience", "5s", "--producer", "p")
	p.send("one\n")
	require.Equal(t, ackJSON{1, 1}, p.ack())
	d.pause()
	p.send("two\nthree\n")
	code, _ := p.end()
	require.Equal(t, exitUnknown, code, p.said())
	said := p.said()
	require.Contains(t, said, "appended 1 entry, LSNs [1, 2)\n")
	require.Regexp(t, `[12] entr(y|ies) more may or may not be stored`, said)
	require.Contains(t, said, "with --resume\n")
	d.goOn()
	d.ok("append", "a", inputFile(t, "one\ntwo\nthree\nfour\n"), "--producer", "p", "--resume")
	require.Equal(t, "one\ntwo\nthree\nfour\n", d.ok("read", "a"))
}

// --timeout ends whatever goes on; what is known then decides the exit code.
func TestTimeout(t *testing.T) {
	t.Parallel()
	d := newDevServer(t)
	start := time.Now()
	p := d.world.start("append", "a", "--create", "-o", "json", "--timeout", "5s")
	p.send("one\n")
	require.Equal(t, ackJSON{1, 1}, p.ack())
	code, _ := p.end()
	require.Equal(t, exitUnavailable, code, p.said())
	require.Contains(t, p.said(), "appended 1 entry")
	require.GreaterOrEqual(t, time.Since(start), 5*time.Second)
	require.Contains(t, d.fails(exitUnavailable, "tail", "a", "--timeout", "100ms"), "--timeout")

	d.pause()
	said := d.fails(exitUnavailable, "log", "list", "--timeout", "300ms")
	require.Contains(t, said, d.addr+": ")
	require.Contains(t, said, "wpd dev")
	d.goOn()
	d.ok("log", "list")
}

// An interrupt ends the command although the server says nothing; what is open
// then is said to be.
func TestAppendInterruptedWhileServerIsSilent(t *testing.T) {
	t.Parallel()
	d := newDevServer(t)
	p := d.world.start("append", "a", "--create", "-o", "json")
	p.send("one\n")
	require.Equal(t, ackJSON{1, 1}, p.ack())
	d.pause()
	p.send("two\n")
	require.Eventually(t, func() bool { return strings.Contains(p.said(), "no acknowledgement for 5.00 s; trying on") }, 30*time.Second, 10*time.Millisecond)
	p.signal(os.Interrupt)
	code, _ := p.end()
	require.Equal(t, exitInterrupted, code, p.said())
	require.Contains(t, p.said(), "appended 1 entry, LSNs [1, 2)\n1 entry more may or may not be stored\nto go on: wpd read a --from 2 shows which")
}
