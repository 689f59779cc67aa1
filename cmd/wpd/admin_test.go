package main

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/node"
)

// The commands about a server, against one.

func TestStatusOfServer(t *testing.T) {
	w := benchWorld(t, false)
	w.ok("append", "orders", "--create", inputFile(t, "one\ntwo\n"))
	var s nodeStatus
	require.NoError(t, json.Unmarshal([]byte(w.ok("status", "-o", "json")), &s))
	require.Equal(t, "serving", s.State)
	require.Equal(t, w.bucket, s.Bucket)
	require.Equal(t, "v1.2.3", s.Version)
	require.EqualValues(t, 1, s.Logs)
	require.EqualValues(t, 2, s.Totals.Entries)
	require.Positive(t, s.Totals.Creates)
	require.Positive(t, s.Rates.RSS)
	require.Equal(t, w.flags[1], s.Listeners[0].Addr)
	require.Len(t, s.Listeners, 2)
	table := w.ok("status")
	require.Contains(t, table, "logs       1\n")
	require.Contains(t, table, "2 entries, ")
	require.Contains(t, w.ok("status", "-o", "yaml"), "\nlogs: 1\n")
}

func TestVersionOfServer(t *testing.T) {
	w := benchWorld(t, false)
	require.Regexp(t, `^wpd .*\nserver v1\.2\.3 \(deadbeef\) at 127\.0\.0\.1:\d+\n$`, w.ok("version"))
	var v version
	require.NoError(t, json.Unmarshal([]byte(w.ok("version", "-o", "json")), &v))
	require.Equal(t, &serverVersion{w.flags[1], "v1.2.3", "deadbeef"}, v.Server)
}

func TestHealthOfServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	w := &world{t: t, flags: []string{"--addr", addr}}
	code, stdout, stderr := w.run("health")
	require.Equal(t, exitUnavailable, code)
	require.Empty(t, stderr)
	require.Regexp(t, `^not serving  `+addr+`: .*connection refused\n$`, stdout)
	code, stdout, _ = w.run("health", "--wait", "250ms", "-o", "json")
	require.Equal(t, exitUnavailable, code)
	require.Regexp(t, `^\{"status":"not_serving","addr":"`+addr+`","why":".*refused"\}\n$`, stdout)

	p := w.start("health", "--wait", "30s")
	dir := t.TempDir()
	n, err := node.Open(t.Context(), node.Config{Bucket: fileURL(filepath.Join(dir, "objects")), DataDir: filepath.Join(dir, "node"), Listen: addr})
	require.NoError(t, err)
	code, stdout = p.end()
	require.Zero(t, code, p.said())
	require.Equal(t, "serving  "+addr+"\n", stdout)
	require.NoError(t, n.Close())
	code, _, _ = w.run("health")
	require.Equal(t, exitUnavailable, code)
}

// wpd stat sees what is appended meanwhile, and Ctrl-C ends it without a word.
func TestStatOfServer(t *testing.T) {
	w := benchWorld(t, false)
	require.Len(t, strings.Split(w.ok("stat", "-i", "100ms", "-n", "2"), "\n"), 4)

	p := w.start("stat", "-i", "100ms", "-o", "json")
	var r rates
	require.NoError(t, json.Unmarshal([]byte(p.line()), &r))
	require.Zero(t, r.EntriesPerS)
	require.Positive(t, r.Seconds)
	w.ok("append", "orders", "--create", inputFile(t, "one\ntwo\n"))
	for r.EntriesPerS == 0 {
		require.NoError(t, json.Unmarshal([]byte(p.line()), &r))
	}
	require.Positive(t, r.AckP50)
	require.Positive(t, r.CreatesPerS)
	p.signal(os.Interrupt)
	code, _ := p.end()
	require.Equal(t, exitInterrupted, code)
	require.Empty(t, p.said())
}

// A server that goes away ends wpd stat with the exit code for that.
func TestStatOfServerThatEnds(t *testing.T) {
	dir := t.TempDir()
	n, err := node.Open(t.Context(), node.Config{Bucket: fileURL(filepath.Join(dir, "objects")), DataDir: filepath.Join(dir, "node"), Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	w := &world{t: t, flags: []string{"--addr", n.Addr().String()}}
	p := w.start("stat", "-i", "100ms")
	p.line()
	require.NoError(t, n.Close())
	code, _ := p.end()
	require.Equal(t, exitUnavailable, code, p.said())
	require.Contains(t, p.said(), "unavailable")
}

// What a server tells of its bucket is what can be read from the bucket.
func TestInspectAndVerifyOfServer(t *testing.T) {
	w := benchWorld(t, false)
	w.ok("append", "orders", "--create", inputFile(t, "one\ntwo\n"))
	key := firstFragment(t, w.bucket)
	for _, args := range [][]string{{"inspect", key, "--entries"}, {"inspect", key, "--batches", "-o", "json"}, {"inspect", "cluster.json"}} {
		code, offline, stderr := runWpd(append(args, "--bucket", w.bucket)...)
		require.Zero(t, code, stderr)
		require.Equal(t, offline, w.ok(args...))
	}
	require.Contains(t, w.ok("inspect", key, "--entries"), `"two"`)
	w.fails(exitNotFound, "inspect", "chains/0000000000000009/0000000000000001")

	type report struct {
		OK                     bool
		Objects, Bytes, Chains uint64
		Logs, Entries          uint64
		Problems               []struct{ Kind, Object string }
		NotesTotal             uint64 `json:"notes_total"`
	}
	verify := func(code int, flags ...string) (r report) {
		got, stdout, stderr := runWpd(append([]string{"verify", "-o", "json"}, flags...)...)
		require.Equal(t, code, got, stderr)
		require.NoError(t, json.Unmarshal([]byte(stdout), &r))
		return r
	}
	r := verify(0, w.flags...)
	require.True(t, r.OK)
	require.EqualValues(t, 2, r.Entries)
	require.Equal(t, verify(0, "--bucket", w.bucket), r)
	require.Regexp(t, `bucket +whole\n`, w.ok("verify"))

	path := filepath.Join(strings.TrimPrefix(w.bucket, "file://"), key)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	require.NoError(t, os.WriteFile(path, b, 0o600))
	r = verify(exitDataLoss, w.flags...)
	require.False(t, r.OK)
	require.Equal(t, key, r.Problems[0].Object)
	require.Equal(t, verify(exitDataLoss, "--bucket", w.bucket), r)
	w.fails(exitDataLoss, "verify", "--keep", "1")
	stderr := w.fails(exitDataLoss, "inspect", key)
	require.Contains(t, stderr, "restore the object")
}

// firstFragment is the key of a bucket's first object that holds entries.
func firstFragment(t *testing.T, bucket string) string {
	root := strings.TrimPrefix(bucket, "file://")
	all, err := filepath.Glob(filepath.Join(root, "chains", "*", "*"))
	require.NoError(t, err)
	for _, path := range all {
		if filepath.Base(path) != "0" && strings.Trim(filepath.Base(path), "0") != "" {
			key, err := filepath.Rel(root, path)
			require.NoError(t, err)
			return filepath.ToSlash(key)
		}
	}
	t.Fatalf("no fragment among %v", all)
	return ""
}

// On a terminal a bench draws how its times went, and wpd stat says again and
// again what its columns are.
func TestOnTerminal(t *testing.T) {
	w := benchWorld(t, true)
	screen := runOnTerminal(t, append(strings.Fields("bench append --rate 500 --duration 400ms --rounds 2 --window 1 --warmup 0 --color never"), w.flags...)...)
	require.Contains(t, screen, "time of an entry  ── p50  ·· p99")
	require.Contains(t, screen, "┤")
	screen = runOnTerminal(t, append(strings.Fields("stat -i 100ms -n 21 --color never"), w.flags...)...)
	require.Equal(t, 2, strings.Count(screen, "ack p99"), screen)
}

// runOnTerminal runs a command whose standard output is a terminal, and returns
// what is on it.
func runOnTerminal(t *testing.T, args ...string) string {
	master, slave := openTerminal(t)
	said := make(chan string)
	go func() {
		var b strings.Builder
		for in := bufio.NewScanner(master); in.Scan(); { // ends with an error when the other side is closed
			b.WriteString(strings.TrimSuffix(in.Text(), "\r") + "\n")
		}
		said <- b.String()
	}()
	var stderr strings.Builder
	code := run(args, slave, &stderr)
	require.NoError(t, slave.Close())
	screen := <-said
	require.Zero(t, code, stderr.String())
	return screen
}
