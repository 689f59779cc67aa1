package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/node"
)

// killForGood kills nodes of a cluster, and takes their data directories where
// that is said.
func killForGood(t *testing.T, c *benchCluster, wipe bool, nodes ...int) {
	t.Helper()
	for _, i := range nodes {
		require.NoError(t, c.nodes[i].cmd.Process.Kill())
		<-c.nodes[i].ended
		if wipe {
			require.NoError(t, os.RemoveAll(filepath.Join(c.dir, c.nodes[i].name)))
		}
	}
}

// appended appends so many entries, each its own number, from one on.
func appended(w *world, log string, from, count int) {
	w.t.Helper()
	var in strings.Builder
	for i := range count {
		in.WriteString(strconv.Itoa(from+i) + "\n")
	}
	w.ok("append", "--create", log, inputFile(w.t, in.String()))
}

// holds checks that a log holds these entries, and no others.
func holds(w *world, log string, count int) {
	w.t.Helper()
	var want strings.Builder
	for i := range count {
		want.WriteString(strconv.Itoa(i+1) + "\n")
	}
	require.Equal(w.t, want.String(), w.ok("read", log))
}

// TestClusterRecover: of three processes two are killed for good. The third goes
// on by its data directory, two new ones join it, and the service is whole. Then
// all are lost, and a saved file brings the metadata back.
func TestClusterRecover(t *testing.T) {
	t.Parallel()
	c, w := clusterWorld(t)
	bucket := fileURL(filepath.Join(c.dir, "objects"))
	dir := filepath.Join(c.dir, "n1")
	recovers := func(args ...string) *recoveryJSON {
		t.Helper()
		code, stdout, stderr := runWpd(append([]string{"cluster"}, append(args, "--bucket", bucket, "-o", "json")...)...)
		require.Zero(t, code, stderr)
		var r recoveryJSON
		require.NoError(t, json.Unmarshal([]byte(stdout), &r))
		return &r
	}
	refuses := func(code int, args ...string) string {
		t.Helper()
		got, _, stderr := runWpd(append([]string{"cluster"}, append(args, "--bucket", bucket)...)...)
		require.Equal(t, code, got, stderr)
		return stderr
	}
	for _, log := range []string{"a", "b"} {
		_, err := c.client.Create(t.Context(), log, wpd.LogConfig{})
		require.NoError(t, err)
		appended(w, log, 1, 100)
	}
	file := filepath.Join(t.TempDir(), "metadata")
	w.ok("cluster", "snapshot", "save", file)
	w.ok("cluster", "move", "a", "n2")
	appended(w, "a", 101, 100)

	// While one of them is alive, nothing is done.
	killForGood(t, c, false, 0)
	require.Contains(t, refuses(exitConflict, "recover", "--data-dir", dir, "--yes"), "n2 at "+c.nodes[1].grpc)
	killForGood(t, c, true, 1, 2)
	require.Contains(t, refuses(exitUsage, "recover", "--data-dir", dir), "--yes")
	would := recovers("recover", "--data-dir", dir, "--dry-run")
	require.False(t, would.Done)
	done := recovers("recover", "--data-dir", dir, "--yes")
	require.True(t, done.Done)
	require.EqualValues(t, 2, done.Incarnation)
	require.Equal(t, 2, done.LogsTotal)
	require.Empty(t, done.Conflicts)
	require.Len(t, done.Removed, 3)
	for i := range c.nodes {
		require.NoError(t, c.restart(t.Context(), i))
	}
	_, err := c.settled(t.Context())
	require.NoError(t, err)
	require.Len(t, nodesOf(w), 3)
	holds(w, "a", 200)
	appended(w, "a", 201, 100)
	appended(w, "new", 1, 50)
	holds(w, "a", 300)

	killForGood(t, c, true, 0, 1, 2)
	restored := recovers("snapshot", "restore", file, "--data-dir", dir, "--node-id", "n1", "--yes")
	require.EqualValues(t, 3, restored.Incarnation)
	require.NotZero(t, restored.BucketRaftIndex)
	require.Equal(t, 3, restored.LogsTotal)
	for i := range c.nodes {
		require.NoError(t, c.restart(t.Context(), i))
	}
	_, err = c.settled(t.Context())
	require.NoError(t, err)
	holds(w, "a", 300)
	holds(w, "b", 100)
	holds(w, "new", 50)
	appended(w, "b", 101, 10)
	holds(w, "b", 110)
	code, _, stderr := runWpd("verify", "--bucket", bucket)
	require.Zero(t, code, stderr)
}

// TestRestoreErrors: what is wrong is told with what to do, and nothing is
// begun.
func TestRestoreErrors(t *testing.T) {
	t.Parallel()
	w := embeddedWorld(t, t.TempDir())
	w.ok("log", "create", "a")
	n, err := node.Open(t.Context(), node.Config{Bucket: w.bucket, DataDir: w.flags[3]})
	require.NoError(t, err)
	var metadata bytes.Buffer
	require.NoError(t, n.SaveSnapshot(t.Context(), &metadata))
	require.NoError(t, n.Close())
	file, damaged := inputFile(t, metadata.String()), inputFile(t, metadata.String()[:metadata.Len()-5])
	other := embeddedWorld(t, t.TempDir())
	other.ok("log", "create", "a")
	fresh := filepath.Join(t.TempDir(), "node")
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "no bucket", []string{"recover", "--data-dir", fresh}},
		{exitUsage, "no data directory", []string{"recover", "--bucket", w.bucket}},
		{exitNotFound, "no such file", []string{"snapshot", "restore", "/does/not/exist", "--bucket", w.bucket, "--data-dir", fresh}},
		{exitNotFound, "no such file", []string{"recover", "--bucket", "file:///does/not/exist", "--data-dir", fresh}},
		{exitDataLoss, "it ends early", []string{"snapshot", "restore", damaged, "--bucket", w.bucket, "--data-dir", fresh, "--yes"}},
		{exitConflict, "belongs to cluster", []string{"snapshot", "restore", file, "--bucket", other.bucket, "--data-dir", fresh, "--yes"}},
		{exitConflict, "belongs to cluster", []string{"recover", "--bucket", other.bucket, "--data-dir", w.flags[3], "--yes"}},
		{exitConflict, `belongs to node "n1"`, []string{"recover", "--bucket", w.bucket, "--data-dir", w.flags[3], "--node-id", "n7", "--yes"}},
		{exitUnexpected, "not one of wpd's", []string{"recover", "--bucket", w.bucket, "--data-dir", filepath.Dir(file), "--yes"}},
		{exitUnexpected, "holds no cluster", []string{"recover", "--bucket", fileURL(t.TempDir()), "--data-dir", fresh, "--yes"}},
	} {
		code, _, stderr := runWpd(append([]string{"cluster"}, c.args...)...)
		require.Equal(t, c.code, code, "%v: %s", c.args, stderr)
		require.Contains(t, stderr, c.says, c.args)
	}
	// For people, it says what it found, and what it can't know.
	code, stdout, stderr := runWpd("cluster", "recover", "--bucket", w.bucket, "--data-dir", fresh, "--yes")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "none, but what the bucket tells")
	require.Contains(t, stdout, "it can't know")
	require.Contains(t, stderr, "start node n1 on it")
	require.Contains(t, w.fails(exitConflict, "log", "list"), "goes on as incarnation 2")
}

// TestPublish: a name appears for bytes that are durable, or not at all.
func TestPublish(t *testing.T) {
	dir := t.TempDir()
	make := func(name string) *os.File {
		f, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		_, err = f.WriteString(name)
		require.NoError(t, err)
		return f
	}
	path := filepath.Join(dir, "metadata")
	unsynced := make("unsynced")
	require.NoError(t, unsynced.Close())
	require.ErrorIs(t, publish(unsynced, path), os.ErrClosed)
	require.NoFileExists(t, path)
	one, two := make("one"), make("two")
	require.NoError(t, publish(one, path))
	require.ErrorIs(t, publish(two, path), os.ErrExist)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "one", string(b))
	require.NoError(t, errors.Join(one.Close(), two.Close()))
}

// TestRunAdvice: a recovery is only to be run again where that helps.
func TestRunAdvice(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		try  string
	}{
		{&node.AliveError{Nodes: []string{"n2 at 127.0.0.1:7080"}}, exitConflict, "stop them"},
		{errors.New("disk on fire"), exitUnexpected, "run the same command again; if it had begun"},
		{&cluster.SnapshotError{}, exitConflict, "run the same command again; if it had begun"},
	} {
		code, try := classify(runAdvice(fmt.Errorf("recover: %w", c.err)))
		require.Equal(t, c.code, code, "%v", c.err)
		require.Contains(t, try, c.try)
	}
}
