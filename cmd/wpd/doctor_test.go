package main

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/doctor"
	"github.com/wpd-io/wpd/testcluster/tamper/fakes3"
)

// unsafeBucket is one on a server that has a flaw, in this process.
func unsafeBucket(t *testing.T, flaw fakes3.Flaw) (url string, server *fakes3.Unsafe) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "any")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
	u := fakes3.NewUnsafe(flaw)
	h := httptest.NewServer(u)
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
	})
	return fakes3.URL(h.Listener.Addr().String(), "wpd"), u
}

// flaws are those of servers, by the name of the doctor's report on them.
var flaws = map[string]fakes3.Flaw{"ignores": fakes3.Ignores, "races": fakes3.Races}

// TestDoctor: a directory is a good bucket, for people and for programs, and is
// left as it was.
func TestDoctor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "objects")
	code, stdout, stderr := runWpd("doctor", "--bucket", fileURL(dir), "--quick", "--rounds", "8", "--processes", "3", "-o", "json", "--speed=false")
	require.Zero(t, code, stderr)
	require.Empty(t, stderr, "no terminal, no progress")
	var r doctor.Report
	require.NoError(t, json.Unmarshal([]byte(stdout), &r))
	require.Equal(t, doctor.Kept, r.Result)
	require.Len(t, r.Findings, 11)
	require.Equal(t, "8 races of 6 creates from 3 processes", r.Findings[0].Seen)
	require.Equal(t, 3, r.Processes)
	require.Empty(t, r.Speeds)

	code, stdout, stderr = runWpd("doctor", "--bucket", fileURL(dir), "--quick", "--rounds", "2", "--processes", "1")
	require.Zero(t, code, stderr)
	require.Regexp(t, `^(kept     [^\n]+\n         [^\n]+\n){11}\n`, stdout)
	requireReported(t, "file", stdout)
	require.Regexp(t, `(?m)^put 8\.00 MiB +8 +\d+ `, stdout)
	require.Regexp(t, `(?m)^get 1\.31 KiB, one at a time\n(  up to +\d+ (µs|ms|s)  █* ?\d+\n)+`, stdout)
	require.Regexp(t, `(?m)^bucket   file://.*/objects\nverdict  good: keeps all 11 promises\nclock    the store does not tell the time\ntook     `, stdout)
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		require.True(t, err != nil || d.IsDir(), "left %s", path)
		return err
	}))
}

// TestDoctorUnsafe: of a server that gets conditions wrong the doctor says so, and
// what it saw, with an exit code of its own.
func TestDoctorUnsafe(t *testing.T) {
	for name, flaw := range flaws {
		t.Run(name, func(t *testing.T) {
			url, server := unsafeBucket(t, flaw)
			server.Window = 10 * time.Millisecond
			code, stdout, stderr := runWpd("doctor", "--bucket", url, "--quick", "--rounds", "8", "--speed=false")
			require.Equal(t, exitDataLoss, code, stderr)
			requireReported(t, name, stdout)
			require.Contains(t, stdout, "broken   of several creates of one key at the same time, one succeeds\n         wrong in ")
			require.Regexp(t, `(?m)^verdict  UNSAFE: breaks \d promises of 11; `, stdout)
			require.Regexp(t, `^wpd doctor: unsafe bucket\n  why: s3://wpd.* breaks \d of the 11 promises .*\n  try: use another store; docs/stores.md .*\n$`, stderr)
			require.NotContains(t, stdout+stderr, "hunter2")
			require.Positive(t, server.Broken())
		})
	}
}

func TestDoctorErrors(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "any")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "any")
	for _, c := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"", exitUsage, "bucket"},
		{"--bucket mem:// --rounds 0", exitUsage, "--rounds is 0"},
		{"--bucket mem:// --processes 65", exitUsage, "1 to 64"},
		{"--bucket mem:// --timeout 0", exitUsage, "more than 0"},
		{"--bucket nonsense://x", exitUsage, "unknown scheme"},
		{"--bucket s3://x?region=x&use_path_style=true&endpoint=http://127.0.0.1:1 --processes 1", exitUnavailable, "connection refused"},
		{"--bucket mem:// --quick --timeout 1ns", exitUnavailable, "deadline exceeded"},
		{"extra", exitUsage, "unknown command"},
	} {
		code, stdout, stderr := runWpd(append([]string{"doctor"}, strings.Fields(c.args)...)...)
		require.Equal(t, c.code, code, "%s: %s", c.args, stderr)
		require.Contains(t, stderr, c.stderr)
		require.Regexp(t, `^wpd doctor: .*\n  why: .*\n(  try: .*\n)?$`, stderr)
		require.Empty(t, stdout)
	}
}

// TestServeUnsafeBucket: a server refuses a bucket that can't be fenced, and says
// what to do; told so in so many words it starts, and warns each time.
func TestServeUnsafeBucket(t *testing.T) {
	for name, flaw := range flaws {
		t.Run(name, func(t *testing.T) {
			url, server := unsafeBucket(t, flaw)
			dir := filepath.Join(t.TempDir(), "node")
			args := []string{"serve", "--bucket", url, "--data-dir", dir, "--log-level", "warn"}
			s := serve(t, args...)
			s.fails(exitDataLoss, "would lose acknowledged entries", unsafeFlag)
			require.Contains(t, s.said(), "wpd serve: unsafe bucket")
			require.NotContains(t, s.said(), "hunter2")
			require.Positive(t, server.Broken())
			require.NoDirExists(t, dir, "nothing was done")
			for range 2 {
				s := serve(t, append(args, unsafeFlag)...).waitReady()
				require.Equal(t, 1, strings.Count(s.said(), "UNSAFE BUCKET"), s.said())
				s.signal(os.Interrupt)
				require.Zero(t, s.end(), s.said())
			}
		})
	}
}

// TestUnsafeBucketEmbedded: so does a node in the process of a command.
func TestUnsafeBucketEmbedded(t *testing.T) {
	url, server := unsafeBucket(t, fakes3.Ignores)
	args := []string{"log", "create", "a", "--bucket", url, "--data-dir", filepath.Join(t.TempDir(), "node")}
	code, _, stderr := runWpd(args...)
	require.Equal(t, exitDataLoss, code, stderr)
	require.Contains(t, stderr, "wpd log create: unsafe bucket")
	require.Contains(t, stderr, unsafeFlag)
	require.Positive(t, server.Broken())
	code, _, stderr = runWpd(append(args, unsafeFlag)...)
	require.Zero(t, code, stderr)
}
