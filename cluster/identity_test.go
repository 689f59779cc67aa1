package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
)

func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.CopyFS(to, os.DirFS(from)))
	return to
}

// The original goes on; the copy is refused at its first start and at every
// later one.
func TestCopiedDirectory(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	require.NoError(t, open(t, dir, b).Close())
	copied := copyDir(t, dir)
	require.NoError(t, open(t, dir, b).Close())
	for range 3 {
		e := refuse[*CopiedError](t, Config{Dir: copied, Bucket: b})
		require.Equal(t, uint64(2), e.Boot)
		require.ErrorContains(t, e, "copied, or restored from an older copy")
	}
	require.Equal(t, uint64(3), open(t, dir, b).Boot())
}

// The copy came first: then it is the original that must not go on.
func TestCopyOpenedFirst(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	require.NoError(t, open(t, dir, b).Close())
	require.NoError(t, open(t, copyDir(t, dir), b).Close())
	refuse[*CopiedError](t, Config{Dir: dir, Bucket: b})
	refuse[*CopiedError](t, Config{Dir: dir, Bucket: b})
}

// A directory from an hour, and several starts, ago.
func TestRestoredDirectory(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	require.NoError(t, open(t, dir, b).Close())
	old := copyDir(t, dir)
	for range 3 {
		m := open(t, dir, b)
		propose(t, m, fmt.Sprintf("log-%d", m.Boot()))
		require.NoError(t, m.Close())
	}
	for range 4 { // it never gets to numbers that are free
		refuse[*CopiedError](t, Config{Dir: old, Bucket: b})
	}
}

// Boot objects above ours, though ours was free: part of the bucket is gone.
func TestHigherBoot(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	m := open(t, dir, b)
	require.NoError(t, m.Close())
	b.put(fragment.NodePrefix(m.Identity())+"not-ours", "")
	b.put(fragment.BootKey(m.Identity(), 5), "another life")
	e := refuse[*CopiedError](t, Config{Dir: dir, Bucket: b})
	require.Equal(t, fragment.BootKey(m.Identity(), 5), e.Key)
}

// A chain in the bucket that the metadata never granted.
func TestRolledBackEpoch(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	m := open(t, dir, b)
	for range 3 {
		e, err := m.Grant(t.Context(), 8, 0)
		require.NoError(t, err)
		b.put(fragment.ChainKey(e, 0), "opened")
		b.put(fragment.ChainKey(e, 1<<63), "far along")
	}
	require.NoError(t, m.Close())
	b.put("chains/not-ours", "")
	require.NoError(t, open(t, dir, b).Close())
	b.put(fragment.ChainKey(4, 0), "opened by whom?")
	e := refuse[*RolledBackError](t, Config{Dir: dir, Bucket: b})
	require.Equal(t, RolledBackError{What: "chain epoch", Where: fragment.ChainKey(4, 0), Found: 4, Have: 3}, *e)
}

func TestCheckRaftIndex(t *testing.T) {
	m := open(t, t.TempDir(), newBucket())
	applied := m.Applied()
	require.NoError(t, m.CheckRaftIndex(t.Context(), "chains/1/1", m.Nonce(), 1, applied))
	require.NoError(t, m.CheckRaftIndex(t.Context(), "chains/1/1", m.Nonce(), 0, applied+9), "an earlier incarnation")
	err := m.CheckRaftIndex(t.Context(), "chains/1/1", m.Nonce(), 1, applied+9)
	e, ok := errors.AsType[*RolledBackError](err)
	require.True(t, ok, err)
	require.Equal(t, RolledBackError{What: "raft index", Where: "chains/1/1", Found: applied + 9, Have: applied}, *e)
	err = m.CheckRaftIndex(t.Context(), "chains/1/1", m.Nonce(), 2, 1)
	e, ok = errors.AsType[*RolledBackError](err)
	require.True(t, ok, err)
	require.Equal(t, "incarnation", e.What)
}

func TestOtherCluster(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	m := open(t, dir, b)
	propose(t, m, "a")
	require.NoError(t, m.Close())

	// A new directory on a bucket that belongs to a cluster, again and again.
	fresh := t.TempDir()
	for range 2 {
		e := refuse[*OtherClusterError](t, Config{Dir: fresh, Bucket: b})
		require.True(t, e.Fresh)
		require.Equal(t, m.ClusterID(), e.Bucket)
	}
	// Our directory on the bucket of another cluster.
	other := newBucket()
	require.NoError(t, open(t, t.TempDir(), other).Close())
	e := refuse[*OtherClusterError](t, Config{Dir: dir, Bucket: other, BucketURL: "fake://other"})
	require.Equal(t, m.ClusterID(), e.Mine)
	require.ErrorContains(t, e, "fake://bucket")
	// Our directory on an empty bucket: not the start of a new cluster.
	empty := newBucket()
	e = refuse[*OtherClusterError](t, Config{Dir: dir, Bucket: empty})
	require.True(t, e.Bucket.IsZero())
	require.Empty(t, empty.keys(""))

	// A refused directory that never held metadata may go elsewhere.
	require.NotEqual(t, m.ClusterID(), open(t, fresh, newBucket()).ClusterID())
	require.Equal(t, []string{"a"}, logNames(open(t, dir, b)))
}

func TestClusterObjectDamaged(t *testing.T) {
	for _, body := range []string{"", "{", `{"version":1}`, `{"version":1,"cluster":"00000000000000000000000000000000"}`, string(make([]byte, fragment.OwnBytesMax+1))} {
		b := newBucket()
		b.put(fragment.ClusterKey, body)
		e := refuse[*BucketError](t, Config{Dir: t.TempDir(), Bucket: b})
		require.Equal(t, fragment.ClusterKey, e.Key)
	}
	b := newBucket()
	b.put(fragment.ClusterKey, `{"version":2,"more":"than we know"}`)
	e := refuse[*VersionError](t, Config{Dir: t.TempDir(), Bucket: b})
	require.Equal(t, 2, e.Have)
}

// Every request to the bucket fails in turn, before it took effect and after,
// in the first life and in the second; the directory is also copied at that
// moment, as if the process had been killed there. From both, the next start
// goes on: the same identity, the same cluster, nothing lost.
func TestEveryCrashPoint(t *testing.T) {
	for _, life := range []int{1, 2} {
		for _, late := range []bool{false, true} {
			for n := 1; ; n++ {
				done := false
				t.Run(fmt.Sprintf("life=%d/late=%v/request=%d", life, late, n), func(t *testing.T) {
					done = crashAt(t, life, late, n)
				})
				if done {
					require.Greater(t, n, 4, "requests of a start")
					break
				}
			}
		}
	}
}

// crashAt reports whether a start makes fewer than n requests.
func crashAt(t *testing.T, life int, late bool, n int) bool {
	dir, b := t.TempDir(), newBucket()
	identity, logs := "", []string(nil)
	if life == 2 {
		m := open(t, dir, b)
		propose(t, m, "a")
		identity, logs = m.Identity(), []string{"a"}
		require.NoError(t, m.Close())
	}
	var image string
	base := b.requests
	hook := func(i int, _, _ string) error {
		if i != base+n {
			return nil
		}
		image = copyDir(t, dir)
		return errStore
	}
	if late {
		b.after = hook
	} else {
		b.before = hook
	}
	m, err := Open(t.Context(), Config{Dir: dir, Bucket: b})
	if err == nil {
		require.NoError(t, m.Close())
		return true
	}
	require.ErrorIs(t, err, errStore)
	b.before, b.after = nil, nil
	b2 := newBucket() // the bucket as it was left, for the other way to crash
	for key, body := range b.objects {
		b2.put(key, string(body))
	}
	for _, world := range []struct {
		dir string
		b   *fakeBucket
	}{{dir, b}, {image, b2}} {
		m := open(t, world.dir, world.b)
		if identity != "" {
			require.Equal(t, identity, m.Identity())
		}
		identity = m.Identity()
		require.Equal(t, logs, logNames(m))
		there, err := readCluster(t.Context(), world.b)
		require.NoError(t, err)
		require.Equal(t, there, m.ClusterID())
		require.Contains(t, world.b.keys(fragment.NodesPrefix()), fragment.BootKey(identity, m.Boot()))
		require.NoError(t, m.Close())
	}
	return false
}

// TestCheckRaftIndexOfAnotherBoot: what an earlier boot wrote was written with
// no more than raft's log held when this boot began. What this boot has added
// since, starting up, must not make up for entries that are missing.
func TestCheckRaftIndexOfAnotherBoot(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	m, err := Open(t.Context(), Config{Dir: dir, Bucket: b})
	require.NoError(t, err)
	propose(t, m, "a")
	earlier, applied := m.Nonce(), m.Applied()
	require.NoError(t, m.Close())
	m = open(t, dir, b)
	require.Greater(t, m.Applied(), applied+1)
	require.NoError(t, m.CheckRaftIndex(t.Context(), "chains/1/1", earlier, 1, applied))
	require.NoError(t, m.CheckRaftIndex(t.Context(), "chains/1/1", m.Nonce(), 1, m.Applied()))
	requireRolledBack := func(index uint64) {
		t.Helper()
		err := m.CheckRaftIndex(t.Context(), "chains/1/1", earlier, 1, index)
		var rolled *RolledBackError
		require.ErrorAs(t, err, &rolled)
	}
	requireRolledBack(applied + 1)
	requireRolledBack(m.Applied())
}
