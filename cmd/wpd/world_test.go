package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/node"
)

// world is a service that commands are run against.
type world struct {
	t      *testing.T
	flags  []string // that lead there
	bucket string   // URL
}

// worlds runs a test against a node within each command's process, and against
// a server, beside other tests.
func worlds(t *testing.T, test func(t *testing.T, w *world)) {
	t.Parallel()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, embeddedWorld(t, t.TempDir()))
	})
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		test(t, serverWorld(t))
	})
}

func embeddedWorld(t *testing.T, dir string) *world {
	bucket := fileURL(filepath.Join(dir, "objects"))
	return &world{t, []string{"--bucket", bucket, "--data-dir", filepath.Join(dir, "node")}, bucket}
}

// serverWorld is a server in this process.
func serverWorld(t *testing.T) *world {
	dir := t.TempDir()
	bucket := fileURL(filepath.Join(dir, "objects"))
	n, err := node.Open(t.Context(), node.Config{Bucket: bucket, DataDir: filepath.Join(dir, "node"), Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return &world{t, []string{"--addr", n.Addr().String()}, bucket}
}

// devServer is wpd dev in a process of its own, and can be killed and started
// again.
type devServer struct {
	*world
	dir, addr string
	cmd       *exec.Cmd
	ended     chan struct{}
}

func newDevServer(t *testing.T) *devServer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	dir := t.TempDir()
	d := &devServer{dir: dir, addr: addr, world: &world{t, []string{"--addr", addr}, fileURL(filepath.Join(dir, "objects"))}}
	t.Cleanup(d.kill)
	d.start()
	return d
}

// start starts the server, and waits until it says that it is ready.
func (d *devServer) start() {
	d.cmd = exec.Command(os.Args[0], "dev", "--dir", d.dir, "--listen", d.addr, "--http-listen", "none")
	stderr, err := d.cmd.StderrPipe()
	require.NoError(d.t, err)
	require.NoError(d.t, d.cmd.Start())
	late := time.AfterFunc(30*time.Second, func() { _ = d.cmd.Process.Kill() })
	defer late.Stop()
	lines := bufio.NewReader(stderr)
	var said strings.Builder
	for {
		line, err := lines.ReadString('\n')
		said.WriteString(line)
		require.NoError(d.t, err, "wpd dev ended before it was ready: %s", said.String())
		if strings.HasPrefix(line, "ready") {
			break
		}
	}
	ended := make(chan struct{})
	d.ended = ended
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, lines)
	}()
}

// kill kills the server with SIGKILL, if it runs.
func (d *devServer) kill() {
	if d.cmd == nil {
		return
	}
	_ = d.cmd.Process.Kill() // it may be gone
	<-d.ended
	_ = d.cmd.Wait() // killed
	d.cmd = nil
}

// run runs a command in this process.
func (w *world) run(args ...string) (code int, stdout, stderr string) {
	return runWpd(append(args, w.flags...)...)
}

// ok runs a command that must succeed, and returns what it prints.
func (w *world) ok(args ...string) string {
	w.t.Helper()
	code, stdout, stderr := w.run(args...)
	require.Zero(w.t, code, "%v: %s", args, stderr)
	return stdout
}

// fails runs a command that must end with an exit code, and returns what it
// says.
func (w *world) fails(code int, args ...string) string {
	w.t.Helper()
	got, _, stderr := w.run(args...)
	require.Equal(w.t, code, got, "%v: %s", args, stderr)
	require.Regexp(w.t, `(?m)^wpd.*: .*\n  why: .*\n(  try: .*\n)?\z`, stderr)
	return stderr
}

// running is a command in a process of its own, fed by the test.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr safeBuffer
}

// safeBuffer may be looked at while a command writes to it.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (w *world) start(args ...string) *running {
	p := &running{t: w.t, cmd: exec.Command(os.Args[0], append(args, w.flags...)...)}
	p.cmd.Stderr = &p.stderr
	in, err := p.cmd.StdinPipe()
	require.NoError(w.t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(w.t, err)
	p.in, p.out = in, bufio.NewReader(out)
	require.NoError(w.t, p.cmd.Start())
	late := time.AfterFunc(60*time.Second, func() { _ = p.cmd.Process.Kill() })
	w.t.Cleanup(func() {
		late.Stop()
		_ = p.cmd.Process.Kill() // it has ended, unless the test failed
		_ = p.cmd.Wait()
	})
	return p
}

func (p *running) send(text string) {
	p.t.Helper()
	_, err := io.WriteString(p.in, text)
	require.NoError(p.t, err)
}

// line returns the next line that the command prints.
func (p *running) line() string {
	p.t.Helper()
	line, err := p.out.ReadString('\n')
	require.NoError(p.t, err, "after %q: %s", line, p.said())
	return strings.TrimSuffix(line, "\n")
}

// ack returns the next acknowledgement that an append prints.
func (p *running) ack() ackJSON {
	p.t.Helper()
	var a ackJSON
	require.NoError(p.t, json.Unmarshal([]byte(p.line()), &a))
	return a
}

// said is what it has said so far on stderr.
func (p *running) said() string { return p.stderr.String() }

func (p *running) signal(s os.Signal) { require.NoError(p.t, p.cmd.Process.Signal(s)) }

// end waits for the end of the command, and returns what it has printed since
// then and its exit code.
func (p *running) end() (code int, rest string) {
	p.t.Helper()
	b, err := io.ReadAll(p.out)
	require.NoError(p.t, err)
	_ = p.cmd.Wait() // the exit code says it
	return p.cmd.ProcessState.ExitCode(), string(b)
}

// inputFile makes a file and returns its path.
func inputFile(t *testing.T, data string) string {
	path := filepath.Join(t.TempDir(), "input")
	require.NoError(t, os.WriteFile(path, []byte(data), 0o600))
	return path
}
