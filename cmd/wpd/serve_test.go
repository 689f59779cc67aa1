package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/rpc/client"
	"github.com/wpd-io/wpd/wal/api"
)

// served is a server in a process of its own.
type served struct {
	t          *testing.T
	cmd        *exec.Cmd
	grpc, http string // addresses, once it is ready

	mu     sync.Mutex
	stderr strings.Builder
	ready  chan struct{} // closed by its line
	ended  chan struct{} // closed with the process
}

var readyLine = regexp.MustCompile(`(?m)^ready grpc=(\S+) http=(\S+)\n`)

// Write implements io.Writer, for stderr.
func (s *served) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stderr.Write(p)
	if m := readyLine.FindStringSubmatch(s.stderr.String()); m != nil && s.grpc == "" {
		s.grpc, s.http = m[1], m[2]
		close(s.ready)
	}
	return len(p), nil
}

// said is what it wrote to stderr so far.
func (s *served) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stderr.String()
}

// serveBinary starts a server from a binary, on free ports unless the arguments
// have others. It is killed at the test's end, if it still runs.
func serveBinary(t *testing.T, binary string, env []string, args ...string) *served {
	t.Helper()
	s := &served{t: t, ready: make(chan struct{}), ended: make(chan struct{})}
	for _, flag := range []string{"--listen", "--http-listen"} {
		if !strings.Contains(strings.Join(args, " ")+" ", flag+" ") {
			args = append(args, flag, "127.0.0.1:0")
		}
	}
	s.cmd = exec.Command(binary, args...)
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Stderr = s
	require.NoError(t, s.cmd.Start())
	go func() {
		defer close(s.ended)
		_ = s.cmd.Wait() // the exit code says it
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it may be gone
		<-s.ended
	})
	return s
}

func serve(t *testing.T, args ...string) *served {
	t.Helper()
	return serveBinary(t, os.Args[0], nil, args...)
}

// onDir are the flags of a server in a directory.
func onDir(dir string, more ...string) []string {
	return append([]string{"serve", "--bucket", fileURL(filepath.Join(dir, "objects")), "--data-dir", filepath.Join(dir, "node")}, more...)
}

const serveWait = 60 * time.Second

// waitReady waits until it serves.
func (s *served) waitReady() *served {
	s.t.Helper()
	select {
	case <-s.ready:
	case <-s.ended:
		s.t.Fatalf("it ended: %s", s.said())
	case <-time.After(serveWait):
		s.t.Fatalf("not ready: %s", s.said())
	}
	return s
}

// waitSaid waits until it has said something.
func (s *served) waitSaid(text string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return strings.Contains(s.said(), text) }, serveWait, time.Millisecond, "never said %q", text)
}

func (s *served) signal(sig os.Signal) {
	s.t.Helper()
	require.NoError(s.t, s.cmd.Process.Signal(sig))
}

// end waits for its end and returns the exit code, -1 for a signal's.
func (s *served) end() int {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(serveWait):
		s.t.Fatalf("still there: %s", s.said())
	}
	return s.cmd.ProcessState.ExitCode()
}

// fails demands that it ends by itself, and says what, why and what to try in a
// line each.
func (s *served) fails(code int, why, try string) {
	s.t.Helper()
	require.Equal(s.t, code, s.end(), s.said())
	require.Regexp(s.t, `(?m)^wpd (serve|dev): .*\n  why: .*\n(  try: .*\n)?\z`, s.said())
	require.Contains(s.t, s.said(), why)
	require.Contains(s.t, s.said(), try)
}

func (s *served) get(path string) string {
	s.t.Helper()
	resp, err := http.Get("http://" + s.http + path)
	require.NoError(s.t, err)
	defer resp.Body.Close() //nolint:errcheck // it is read to its end
	b, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return string(b)
}

// appender sends batches of one entry each as fast as it goes, and nothing
// twice.
type appender struct {
	c   *client.Service
	log fragment.LogID
	o   api.Opened

	mu    sync.Mutex
	acked map[uint64]fragment.LSN // by sequence
	sent  uint64
	open  sync.WaitGroup // what was handed over
}

func newAppender(t *testing.T, addr, name string) *appender {
	t.Helper()
	c, err := client.Dial(t.Context(), client.Config{Addrs: []string{addr}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	info, err := c.Create(t.Context(), name, api.LogConfig{})
	require.NoError(t, err)
	o, err := c.OpenProducer(t.Context(), api.OpenRequest{Log: info.ID})
	require.NoError(t, err)
	return &appender{c: c, log: info.ID, o: o, acked: make(map[uint64]fragment.LSN)}
}

func entryOf(seq uint64) string { return fmt.Sprintf("entry %d %s", seq, strings.Repeat("x", 1000)) }

// run appends until the server refuses, and all that was handed over is
// answered.
func (a *appender) run(ctx context.Context) {
	for ctx.Err() == nil {
		a.mu.Lock()
		a.sent++
		seq := a.sent
		a.mu.Unlock()
		var b fragment.BatchBuilder
		if b.Add(nil, []byte(entryOf(seq))) != nil {
			break
		}
		batch := b.Finish(fragment.BatchMeta{Producer: a.o.ID, ProducerEpoch: a.o.Epoch, FirstSeq: seq, LowestSeq: max(1, seq-min(seq, 63))})
		a.open.Add(1)
		over := make(chan struct{})
		err := a.c.Append(ctx, api.AppendRequest{Log: a.log, Batch: batch}, func(ack api.Ack, err error) {
			defer a.open.Done()
			if err != nil {
				close(over)
				return
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			a.acked[seq] = ack.From
		})
		if err != nil {
			a.open.Done()
			break
		}
		select {
		case <-over:
			a.open.Wait()
			return
		default:
		}
	}
	a.open.Wait()
}

func (a *appender) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.acked)
}

// TestServe: a server that is configured by a file serves; SIGTERM in the
// middle of appends ends it in good order, with exit code 0; what was
// acknowledged is there, and the chain is sealed.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "wpd.yaml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, "bucket: %s\ndata_dir: %s\nnode_id: alpha\nwindow: 4\n",
		fileURL(filepath.Join(dir, "objects")), filepath.Join(dir, "node")), 0o600))
	s := serve(t, "serve", "--config", config, "--log-level", "info").waitReady()
	before, _, _ := strings.Cut(s.said(), "ready ")
	for _, want := range []string{"wpd starts", "version=", "wpd is open", "node=alpha", "cluster=", "bucket=file://", "listen=" + s.grpc, "http_listen=" + s.http} {
		require.Contains(t, before, want)
	}
	require.Equal(t, "ok\n", s.get("/healthz"))
	require.Equal(t, "ready\n", s.get("/readyz"))

	a := newAppender(t, s.grpc, "log")
	ctx, cancel := context.WithTimeout(t.Context(), serveWait)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.run(ctx)
	}()
	require.Eventually(t, func() bool { return a.count() > 200 }, serveWait, time.Millisecond)
	s.signal(syscall.SIGTERM)
	require.Zero(t, s.end(), s.said())
	for _, want := range []string{"stopping", "sealed chain", "stopped"} {
		require.Contains(t, s.said(), want)
	}
	cancel() // nobody will take any more
	<-done

	n, err := node.Open(t.Context(), node.Config{Bucket: fileURL(filepath.Join(dir, "objects")), DataDir: filepath.Join(dir, "node")})
	require.NoError(t, err)
	log, err := n.Client().Log(t.Context(), "log")
	require.NoError(t, err)
	at := map[fragment.LSN]string{}
	for e, err := range log.Read(t.Context(), wpd.Earliest) {
		require.NoError(t, err)
		at[e.LSN] = string(e.Data)
	}
	for seq, lsn := range a.acked {
		require.Equal(t, entryOf(seq), at[lsn], "sequence %d", seq)
	}
	require.LessOrEqual(t, len(at), int(a.sent))
	require.NoError(t, n.Close())
}

// TestServeInUse: a port, a data directory: whose it is, is told, and what to
// do. Whoever has it is not disturbed.
func TestServeInUse(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, onDir(dir)...).waitReady()
	serve(t, onDir(dir)...).fails(exitConflict, "is in use", "stop that process")
	serve(t, onDir(t.TempDir(), "--listen", s.grpc)...).fails(exitConflict, "grpc listener: listen tcp "+s.grpc+": bind: address already in use", "--listen")
	serve(t, onDir(t.TempDir(), "--http-listen", s.http)...).fails(exitConflict, "http listener: listen tcp "+s.http, "--http-listen")
	require.Equal(t, "ready\n", s.get("/readyz"))
	s.signal(os.Interrupt)
	require.Zero(t, s.end(), s.said())
	serve(t, onDir(dir)...).waitReady()
}

func TestServeRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, c := range []struct {
		args     []string
		code     int
		why, try string
	}{
		{[]string{"serve"}, exitUsage, "no bucket", "wpd serve --help"},
		{[]string{"serve", "--bucket", "file:///x"}, exitUsage, "no data directory", ""},
		{onDir(dir, "--listen", "0.0.0.0:0"), exitUsage, "no TLS yet", "--insecure"},
		{onDir(dir, "--http-listen", ":0"), exitUsage, "no TLS yet", "--http-listen"},
		{onDir(dir, "--listen", "192.0.2.1:7070", "--insecure"), exitUsage, "192.0.2.1:7070", "an address of this machine"},
		{onDir(dir, "--raft-listen", "192.0.2.1:7071", "--insecure", "--bootstrap"), exitUsage, "192.0.2.1:7071", "--raft-listen"},
		{onDir(dir, "--config", "/does/not/exist"), exitNotFound, "/does/not/exist", ""},
		{onDir(dir, "--window", "100"), exitUsage, "want 1 to 64", ""},
		{[]string{"serve", "--bucket", fileURL(file), "--data-dir", dir + "/n"}, exitUnexpected, "not a directory", ""},
		{[]string{"serve", "--bucket", "nonsense://x", "--data-dir", dir + "/n"}, exitUsage, "unknown scheme", "file:///absolute/path"},
		{[]string{"dev", "--dir", file}, exitUnexpected, "not a directory", ""},
		{[]string{"dev", "--listen", "0.0.0.0:0"}, exitUsage, "no TLS yet", "--insecure"},
		{[]string{"dev", "--window", "3"}, exitUsage, "unknown flag: --window", ""},
	} {
		serve(t, c.args...).fails(c.code, c.why, c.try)
	}
}

// TestServeInsecure: what others can reach is warned of at every start.
func TestServeInsecure(t *testing.T) {
	s := serve(t, onDir(t.TempDir(), "--listen", ":0", "--insecure", "--log-level", "warn")...).waitReady()
	require.Regexp(t, `level=WARN msg="no TLS yet[^\n]*listener=grpc`, s.said())
	require.Equal(t, 1, strings.Count(s.said(), "no TLS yet"))
}

// TestServeBucketRefuses: a bucket that does not let us in is an error, not a
// wait.
func TestServeBucketRefuses(t *testing.T) {
	bucket := newS3(t)
	bucket.refuse.Store(true)
	s := serveBinary(t, os.Args[0], bucket.env(), "serve", "--bucket", bucket.url(), "--data-dir", t.TempDir()+"/n")
	s.fails(exitUnavailable, "can't be used", "the credentials")
	require.NotContains(t, s.said(), "hunter2")
}

// TestServeSecondSignal: while a drain waits for a store that hangs, a second
// signal ends the process at once; the next start seals, and all is there.
func TestServeSecondSignal(t *testing.T) {
	bucket := newS3(t)
	dir := t.TempDir()
	s := serveBinary(t, os.Args[0], bucket.env(), "serve", "--bucket", bucket.url(), "--data-dir", dir).waitReady()
	require.NotContains(t, s.said(), "hunter2")
	a := newAppender(t, s.grpc, "log")
	ctx, cancel := context.WithTimeout(t.Context(), serveWait)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.run(ctx)
	}()
	require.Eventually(t, func() bool { return a.count() > 10 }, serveWait, time.Millisecond)
	release := bucket.hang("chains/")
	bucket.waitHanging(t, 1)
	s.signal(syscall.SIGTERM)
	s.waitSaid("stopping")
	select {
	case <-s.ended:
		t.Fatalf("it did not wait: %s", s.said())
	default:
	}
	s.signal(syscall.SIGTERM)
	require.Equal(t, -1, s.end(), "by the signal")
	require.Equal(t, syscall.SIGTERM, s.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
	release()
	cancel()
	<-done

	s = serveBinary(t, os.Args[0], bucket.env(), "serve", "--bucket", bucket.url(), "--data-dir", dir).waitReady()
	c, err := wpd.Dial(t.Context(), s.grpc)
	require.NoError(t, err)
	defer c.Close() //nolint:errcheck // nothing is in flight
	log, err := c.Log(t.Context(), "log")
	require.NoError(t, err)
	at := map[fragment.LSN]string{}
	for e, err := range log.Read(t.Context(), wpd.Earliest) {
		require.NoError(t, err)
		at[e.LSN] = string(e.Data)
	}
	for seq, lsn := range a.acked {
		require.Equal(t, entryOf(seq), at[lsn], "sequence %d", seq)
	}
}

// TestServeGivesUp: a store that hangs keeps a server from stopping for no
// longer than its close timeout; that it left something is an error.
func TestServeGivesUp(t *testing.T) {
	bucket := newS3(t)
	s := serveBinary(t, os.Args[0], bucket.env(), "serve", "--bucket", bucket.url(), "--data-dir", t.TempDir(), "--close-timeout", "500ms").waitReady()
	bucket.hang("chains/")
	a := newAppender(t, s.grpc, "log")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go a.run(ctx)
	bucket.waitHanging(t, 1)
	s.signal(syscall.SIGTERM)
	s.fails(exitUnavailable, "stop in good order", "start it again")
}

// TestServeFails: a node that can't write any more ends its process, and says
// why.
func TestServeFails(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, onDir(dir)...).waitReady()
	chains, err := filepath.Glob(filepath.Join(dir, "objects", "chains", "*"))
	require.NoError(t, err)
	require.Len(t, chains, 1)
	require.NoError(t, os.WriteFile(filepath.Join(chains[0], "0000000000000001"), []byte("somebody else's"), 0o600))
	a := newAppender(t, s.grpc, "log")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go a.run(ctx)
	s.fails(exitConflict, "the node has failed", "find out who else writes to this bucket")
	require.Zero(t, a.count())
}

// TestServeJSON: with log_format json, all that a server says is JSON, "ready"
// included, whatever the level.
func TestServeJSON(t *testing.T) {
	s := serve(t, onDir(t.TempDir(), "--log-format", "json", "--log-level", "error")...)
	s.waitSaid(`"msg":"ready"`)
	s.signal(syscall.SIGTERM)
	require.Zero(t, s.end(), s.said())
	for line := range strings.Lines(s.said()) {
		var record struct {
			Msg, GRPC, HTTP string
		}
		require.NoError(t, json.Unmarshal([]byte(line), &record), line)
		require.Equal(t, "ready", record.Msg)
		_, port, err := net.SplitHostPort(record.GRPC)
		require.NoError(t, err)
		require.NotEqual(t, "0", port)
	}
}

// TestServeMemory: the runtime's limit follows from the settings, unless the
// environment has one.
func TestServeMemory(t *testing.T) {
	for env, want := range map[string]string{
		"X=1":               fmt.Sprintf("%.0f", float64(96<<20+1<<20+memoryMore)),
		"GOMEMLIMIT=123MiB": fmt.Sprintf("%.0f", float64(123<<20)),
	} {
		s := serveBinary(t, os.Args[0], []string{env}, onDir(t.TempDir(), "--cache", "1MiB")...).waitReady()
		m := regexp.MustCompile(`(?m)^go_gc_gomemlimit_bytes (\S+)$`).FindStringSubmatch(s.get("/metrics"))
		require.NotNil(t, m)
		got, err := strconv.ParseFloat(m[1], 64)
		require.NoError(t, err)
		require.Equal(t, want, fmt.Sprintf("%.0f", got), env)
	}
}

// TestServeIdleMemory: an idle server takes little. It is the program itself
// that is measured, without the tests in it.
func TestServeIdleMemory(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Logf("this system does not tell: %v", err)
		return
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "wpd")
	out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	s := serveBinary(t, binary, nil, onDir(dir)...).waitReady()
	require.Equal(t, "ready\n", s.get("/readyz"))
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	require.NoError(t, err)
	m := regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`).FindSubmatch(status)
	require.NotNil(t, m)
	kib, err := strconv.Atoi(string(m[1]))
	require.NoError(t, err)
	require.Less(t, kib, 64<<10, "RSS of an idle server, in KiB")
}

// TestDev: a server for trying things says where it is and where its data are,
// works, and without --dir leaves nothing behind.
func TestDev(t *testing.T) {
	tmp := t.TempDir()
	s := serveBinary(t, os.Args[0], []string{"TMPDIR=" + tmp}, "dev").waitReady()
	banner, _, _ := strings.Cut(s.said(), "ready ")
	require.Regexp(t, `\Awpd dev \S+\n  gRPC  `+s.grpc+`\n  HTTP  http://`+s.http+`/\n  data  `+tmp+`/wpd-dev-\d+  \(temporary: lost at exit; --dir keeps it\)\n\z`, banner)
	code, _, stderr := runWpd("bench", "append", "--addr", s.grpc, "--rounds", "1", "--entries", "100", "--warmup", "0")
	require.Zero(t, code, "benches are allowed: %s", stderr)
	require.Equal(t, "warn\n", s.get("/loglevel"))
	a, err := client.DialAdmin(t.Context(), client.Config{Addrs: []string{s.grpc}})
	require.NoError(t, err)
	defer a.Close() //nolint:errcheck // nothing is in flight
	all, err := a.Config(t.Context())
	require.NoError(t, err)
	from := map[string]string{}
	for _, x := range all {
		from[x.GetKey()] = x.GetSource()
	}
	require.Equal(t, "flag", from["listen"])
	require.Equal(t, "default", from["window"])
	_, err = a.SetLogLevel(t.Context(), "debug")
	require.NoError(t, err)
	require.Equal(t, "debug\n", s.get("/loglevel"))
	s.signal(syscall.SIGTERM)
	require.Zero(t, s.end(), s.said())
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestDevKeeps: with --dir, the next one goes on where the last one was, also
// after a crash.
func TestDevKeeps(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dir")
	for life := range 3 {
		s := serve(t, "dev", "--dir", dir, "--http-listen", "none").waitReady()
		require.Equal(t, "none", s.http)
		require.Contains(t, s.said(), "data  "+dir+"\n")
		c, err := wpd.Dial(t.Context(), s.grpc)
		require.NoError(t, err)
		log, err := c.Log(t.Context(), "log")
		if life == 0 {
			log, err = c.Create(t.Context(), "log", wpd.LogConfig{})
		}
		require.NoError(t, err)
		w, err := log.Writer(t.Context())
		require.NoError(t, err)
		lsn, err := w.Append(t.Context(), []byte("x"))
		require.NoError(t, err)
		require.EqualValues(t, life+1, lsn)
		require.NoError(t, c.Close())
		if life == 0 {
			s.signal(os.Kill)
			s.end()
			continue
		}
		s.signal(os.Interrupt)
		require.Zero(t, s.end(), s.said())
	}
	for _, name := range []string{"objects/cluster.json", "node"} {
		_, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name)))
		require.NoError(t, err)
	}
}
