package cluster

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// open opens a member that the test closes at its end.
func open(t *testing.T, dir string, b Objects) *Member {
	t.Helper()
	m, err := Open(t.Context(), Config{Dir: dir, Bucket: b, BucketURL: "fake://bucket"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// refuse opens a member and demands an error of type E.
func refuse[E error](t *testing.T, c Config) E {
	t.Helper()
	m, err := Open(t.Context(), c)
	if err == nil {
		require.NoError(t, m.Close())
	}
	e, ok := errors.AsType[E](err)
	require.Truef(t, ok, "got %v (%T), want a %T", err, err, e)
	t.Log(err)
	return e
}

func propose(t *testing.T, m *Member, name string) *fsm.Log {
	t.Helper()
	r, err := m.Propose(t.Context(), fsm.NewCreateLog(name, fsm.LogConfig{EntryBytesMax: 1 << 20}, 7))
	require.NoError(t, err)
	return r.Log
}

func logNames(m *Member) (names []string) {
	m.View(func(s *fsm.State) {
		for l := range s.Logs("") {
			names = append(names, l.Name)
		}
	})
	return names
}

func TestOpenAndReopen(t *testing.T) {
	dir, b := filepath.Join(t.TempDir(), "deep", "data"), newBucket()
	m := open(t, dir, b)
	require.Equal(t, uint64(1), m.Boot())
	require.Regexp(t, `^n1-[0-9a-f]{16}$`, m.Identity())
	require.Equal(t, uint64(1), m.Incarnation())
	require.NotZero(t, m.Nonce())
	propose(t, m, "a")
	e, err := m.Grant(t.Context(), 8, 0)
	require.NoError(t, err)
	require.Equal(t, fragment.Epoch(1), e)
	identity, cluster, nonce, applied := m.Identity(), m.ClusterID(), m.Nonce(), m.Applied()
	require.NoError(t, m.Close())
	require.NoError(t, m.Close(), "closing twice")

	m = open(t, dir, b)
	require.Equal(t, uint64(2), m.Boot())
	require.Equal(t, identity, m.Identity())
	require.Equal(t, cluster, m.ClusterID())
	require.NotEqual(t, nonce, m.Nonce())
	require.Greater(t, m.Applied(), applied)
	require.Equal(t, []string{"a"}, logNames(m))
	m.View(func(s *fsm.State) {
		require.NoError(t, s.Check())
		c, ok := s.Chain(1)
		require.True(t, ok)
		require.Equal(t, fsm.ChainSealing, c.State, "the chain of the earlier boot")
		require.Equal(t, identity, c.Sealer)
	})
	require.Equal(t, []string{
		"cluster.json",
		fragment.BootKey(identity, 1),
		fragment.BootKey(identity, 2),
	}, b.keys(""))
}

// Everything but raft's files may be deleted from a data directory.
func TestReopenWithRaftFilesOnly(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	m := open(t, dir, b)
	identity := m.Identity()
	require.NoError(t, m.Close())
	for _, name := range []string{lockName, versionName} {
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "something"), nil, 0o600))
	m = open(t, dir, b)
	require.Equal(t, identity, m.Identity())
	require.Equal(t, uint64(2), m.Boot())
	require.FileExists(t, filepath.Join(dir, versionName))
}

func TestOpenTwice(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	m := open(t, dir, b)
	e := refuse[*LockedError](t, Config{Dir: dir, Bucket: b})
	require.Equal(t, os.Getpid(), e.PID)
	propose(t, m, "goes-on")

	// bbolt's own lock is the second line, where LOCK is gone.
	require.NoError(t, os.Remove(filepath.Join(dir, lockName)))
	refuse[*LockedError](t, Config{Dir: dir, Bucket: b})
	require.NoError(t, m.Close())
	open(t, dir, b)
}

func TestConfigRefused(t *testing.T) {
	_, err := Open(t.Context(), Config{})
	require.ErrorContains(t, err, "no bucket")
	refuse[*fsm.InvalidError](t, Config{Bucket: newBucket(), Name: "a/b"})
	refuse[*fsm.InvalidError](t, Config{Bucket: newBucket(), Name: ".."})

	dir, b := t.TempDir(), newBucket()
	m, err := Open(t.Context(), Config{Dir: dir, Bucket: b, Name: "n2"})
	require.NoError(t, err)
	require.NoError(t, m.Close())
	e := refuse[*NameError](t, Config{Dir: dir, Bucket: b, Name: "n1"})
	require.Equal(t, "n2", e.Have)
	require.Equal(t, m.Identity(), open(t, dir, b).Identity(), "no name means the directory's")
}

func TestOpenCanceled(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	ctx, cancel := context.WithCancel(t.Context())
	b.after = func(_ int, op, _ string) error {
		if op == "list" {
			cancel()
		}
		return nil
	}
	_, err := Open(ctx, Config{Dir: dir, Bucket: b})
	require.ErrorIs(t, err, context.Canceled)
	b.after = nil
	open(t, dir, b)
}

func TestInMemory(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := newBucket()
		m, err := Open(t.Context(), Config{Bucket: b, Name: "mem"})
		require.NoError(t, err)
		propose(t, m, "a")
		require.NoError(t, m.Confirm(t.Context()))
		require.Equal(t, []string{"a"}, logNames(m))
		require.NoError(t, m.Close())

		// A second life can't know what the first one did.
		_, err = Open(t.Context(), Config{Bucket: b})
		e, ok := errors.AsType[*OtherClusterError](err)
		require.True(t, ok, err)
		require.Equal(t, m.ClusterID(), e.Bucket)
		require.ErrorContains(t, err, "in memory")
	})
}

func TestMetrics(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	for range 2 { // Close takes back what Open registers
		m, err := Open(t.Context(), Config{Bucket: newBucket(), Registerer: r, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		require.Eventually(t, func() bool { return testutil.ToFloat64(m.metrics.leads) == 1 }, 10*time.Second, time.Millisecond, "alone, it leads")
		propose(t, m, "a")
		_, err = m.Propose(t.Context(), fsm.NewDeleteLog(9))
		require.ErrorIs(t, err, fs.ErrNotExist)
		families, err := r.Gather()
		require.NoError(t, err)
		values := map[string]float64{}
		for _, f := range families {
			for _, s := range f.GetMetric() {
				name := f.GetName()
				for _, l := range s.GetLabel() {
					name += "/" + l.GetValue()
				}
				values[name] = s.GetCounter().GetValue() + s.GetGauge().GetValue()
			}
		}
		require.Equal(t, 3.0, values["wpd_cluster_proposals_total/applied"])
		require.Equal(t, 1.0, values["wpd_cluster_proposals_total/refused"])
		require.Equal(t, 1.0, values["wpd_cluster_logs"])
		require.Equal(t, 1.0, values["wpd_cluster_members"])
		require.Equal(t, 1.0, values["wpd_cluster_members_well"])
		require.Zero(t, values["wpd_cluster_failure_tolerance"])
		require.NoError(t, m.Close())
	}
}
