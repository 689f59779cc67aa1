package main

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/stretchr/testify/require"
)

// TestWeatherVersions restarts a cluster under load, node by node, from the
// binary of the last commit whose code is another one to the present binary. Then
// it has the cluster meet a command of a version to come.
func TestWeatherVersions(t *testing.T) {
	t.Parallel()
	old, missing := previousBinary(t)
	present := wpdBinary(t)
	s := newSky(t, 3, func(s *sky) { s.binary = cmp.Or(old, present) })
	if missing != "" {
		t.Run("rolling upgrade", func(t *testing.T) { t.Skip(missing) })
	} else {
		s.weather(t, "rolling upgrade", map[string]int{"upgrade": 3}, func(w *storm) {
			w.binary = present
			for _, i := range w.up() {
				require.Equal(w, old, w.running(i))
				w.stop(i)
				w.acked(stormSome)
				w.start(i)
				w.whole()
				require.NotEqual(w, old, w.running(i))
				w.fault("upgrade", 1)
				w.acked(stormSome) // of both versions, until the last
			}
		})
	}
	t.Run("unknown command", func(t *testing.T) {
		s.t = t
		s.unknownCommand()
	})
}

// running is the path of the binary that a node runs.
func (s *sky) running(i int) string {
	s.t.Helper()
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", s.nodes[i].life.cmd.Process.Pid))
	require.NoError(s.t, err)
	return path
}

// previousBinary builds the last commit whose code is not the present one, or
// says why there is none.
func previousBinary(t *testing.T) (binary, missing string) {
	t.Helper()
	git := func(args ...string) (string, error) {
		cmd := exec.Command("git", append([]string{"-C", "../.."}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0") // leave the index alone
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	commits, err := git("rev-list", "--max-count=200", "HEAD")
	if err != nil {
		return "", fmt.Sprintf("no history here, so no previous commit to build: %v", err)
	}
	code := []string{"--", "*.go", "go.mod", ":(exclude)*_test.go", ":(exclude)testcluster"}
	for commit := range strings.Lines(commits) {
		commit = strings.TrimSpace(commit)
		if _, err := git(append([]string{"diff", "--quiet", commit}, code...)...); err == nil {
			continue // it has the same code
		}
		t.Logf("the previous version is commit %s", commit)
		return buildCommit(t, commit), ""
	}
	shallow, err := git("rev-parse", "--is-shallow-repository")
	return "", fmt.Sprintf("no commit with other code in the history that is here (shallow clone: %s, %v)", shallow, err)
}

func buildCommit(t *testing.T, commit string) string {
	t.Helper()
	dir := t.TempDir()
	sources := filepath.Join(dir, "sources.tar")
	for _, args := range [][]string{
		{"git", "-C", "../..", "archive", "-o", sources, commit},
		{"tar", "-xf", sources, "-C", dir},
		{"go", "build", "-C", dir, "-trimpath", "-buildvcs=false", "-o", "wpd-previous", "./cmd/wpd"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
	}
	return filepath.Join(dir, "wpd-previous")
}

// unknownCommand has the cluster commit a command that no node knows. None goes
// on, at that moment or after a restart, and what is in the bucket is untouched.
func (s *sky) unknownCommand() {
	s.kill(s.up()...)
	// A node that nobody else can be elected without, and another: a majority.
	newest := s.newestRaftLog()
	why := fmt.Sprintf("raft log entry %d: unknown command", s.forge(newest))
	met := map[int]int{newest: 0, (newest + 1) % 3: 0}
	s.await("each of two nodes to stop twice", func() bool {
		enough := true
		for i := range met {
			if s.nodes[i].life == nil {
				s.launch(i) // the other may not have heard that it is committed
			}
			life := s.nodes[i].life
			select {
			case <-life.ended:
				require.Positive(s.t, s.ended(i).ExitCode(), life.said())
				require.Contains(s.t, life.said(), why)
				met[i]++
			default:
			}
			enough = enough && met[i] >= 2
		}
		return enough
	})
	code, stdout, stderr := runWpd("verify", "--bucket", s.bucket)
	require.Zero(s.t, code, "%s\n%s", stdout, stderr)
}

// raftLog opens the raft log of a node that does not run.
func (s *sky) raftLog(i int) *raftboltdb.BoltStore {
	s.t.Helper()
	b, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(s.nodes[i].dir, "raft", "raft.db")})
	require.NoError(s.t, err)
	return b
}

// newestRaftLog is the node whose raft log ends last.
func (s *sky) newestRaftLog() (newest int) {
	s.t.Helper()
	var most raft.Log
	for i := range s.nodes {
		last := s.lastOf(i)
		if last.Term > most.Term || last.Term == most.Term && last.Index > most.Index {
			newest, most = i, last
		}
	}
	return newest
}

func (s *sky) lastOf(i int) (last raft.Log) {
	s.t.Helper()
	b := s.raftLog(i)
	defer b.Close() //nolint:errcheck // it was only read
	index, err := b.LastIndex()
	require.NoError(s.t, err)
	require.NoError(s.t, b.GetLog(index, &last))
	return last
}

// forge puts a command that nobody knows behind a node's raft log, as a leader of
// a newer version would have.
func (s *sky) forge(i int) (index uint64) {
	s.t.Helper()
	last := s.lastOf(i)
	command := []byte{0x9a, 0x06, 0x00} // field 99, of no bytes
	sum := crc32.Checksum(command, crc32.MakeTable(crc32.Castagnoli))
	data := append(binary.LittleEndian.AppendUint32([]byte{1}, sum), command...)
	b := s.raftLog(i)
	require.NoError(s.t, b.StoreLog(&raft.Log{Index: last.Index + 1, Term: last.Term, Type: raft.LogCommand, Data: data}))
	require.NoError(s.t, b.Close())
	return last.Index + 1
}
