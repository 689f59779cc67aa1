package cluster

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fsm"
)

// A committed command that this version does not know stops the member, now
// and at the next start; it is never skipped.
func TestUnknownCommandStops(t *testing.T) {
	for name, data := range map[string][]byte{
		"newer command":  sealed([]byte{0x9a, 0x06, 0x00}),
		"newer envelope": {2, 0, 0, 0, 0, 1, 2, 3},
		"breach":         nil,
	} {
		t.Run(name, func(t *testing.T) {
			dir, b := t.TempDir(), newBucket()
			m := open(t, dir, b)
			propose(t, m, "a")
			if data == nil {
				data = breach(t, m)
			}
			require.NoError(t, m.raft.Apply(data, 0).Error())
			<-m.Failed()
			require.ErrorIs(t, m.Err(), ErrFailed)
			require.ErrorIs(t, m.Err(), fsm.ErrStop)
			applied := m.Applied()
			_, err := m.Propose(t.Context(), fsm.NewDeleteLog(1))
			require.ErrorIs(t, err, ErrFailed)
			require.ErrorIs(t, m.Confirm(t.Context()), ErrFailed)
			// What was under way is committed, but not applied.
			future := m.raft.Apply(data, 0)
			require.NoError(t, future.Error())
			require.Error(t, future.Response().(response).err)
			require.Equal(t, applied, m.Applied())
			require.Error(t, m.raft.Snapshot().Error(), "a snapshot would skip the command")
			require.NoError(t, m.Close())

			_, err = Open(t.Context(), Config{Dir: dir, Bucket: b})
			require.ErrorIs(t, err, fsm.ErrStop)
			require.ErrorIs(t, err, ErrFailed)
		})
	}
}

// breach returns a seal that contradicts one that is committed.
func breach(t *testing.T, m *Member) []byte {
	t.Helper()
	e, err := m.Grant(t.Context(), 8, 0)
	require.NoError(t, err)
	_, err = m.Propose(t.Context(), fsm.NewBeginSeal(e, 0, m.Identity()))
	require.NoError(t, err)
	_, err = m.Propose(t.Context(), fsm.NewSeal(e, fsm.Seal{At: 1, Index: fsm.Ref{Key: "k", Size: 1}}))
	require.NoError(t, err)
	data, err := envelope(fsm.NewSeal(e, fsm.Seal{At: 2, Index: fsm.Ref{Key: "k", Size: 1}}))
	require.NoError(t, err)
	return data
}

// failingLogs fails every write once it is told to.
type failingLogs struct {
	raft.LogStore
	fail chan struct{}
}

func (s failingLogs) StoreLogs(ls []*raft.Log) error {
	select {
	case <-s.fail:
		return errStore
	default:
		return s.LogStore.StoreLogs(ls)
	}
}

// A raft log that can't be written stops the member, without the panic that
// raft has for it; nothing is written after the failure.
func TestStoreFails(t *testing.T) {
	fails := failingLogs{fail: make(chan struct{})}
	m, err := Open(t.Context(), Config{Dir: t.TempDir(), Bucket: newBucket(), wrap: func(s *stores) {
		fails.LogStore = s.logs
		s.logs = fails
	}})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	close(fails.fail)
	_, err = m.Propose(t.Context(), fsm.NewDeleteLog(1))
	require.ErrorIs(t, err, ErrUncertain)
	<-m.Failed()
	require.ErrorIs(t, m.Err(), errStore)
	_, err = m.Propose(t.Context(), fsm.NewDeleteLog(1))
	require.ErrorIs(t, err, ErrFailed)
}

// The state survives in snapshots, with the log cut behind them; a damaged
// newest snapshot is an error, not a step back to the older one.
func TestSnapshots(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	m := open(t, dir, b)
	cut := raft.ReloadableConfig{
		TrailingLogs: 0, SnapshotInterval: raft.DefaultConfig().SnapshotInterval, SnapshotThreshold: 1 << 20,
		HeartbeatTimeout: heartbeatTimeout, ElectionTimeout: electionTimeout,
	}
	require.NoError(t, m.raft.ReloadConfig(cut))
	propose(t, m, "a")
	require.NoError(t, m.raft.Snapshot().Error())
	propose(t, m, "b")
	require.NoError(t, m.raft.Snapshot().Error())
	propose(t, m, "c")
	applied := m.Applied()
	require.NoError(t, m.Close())

	m = open(t, dir, b)
	require.Equal(t, []string{"a", "b", "c"}, logNames(m))
	require.Greater(t, m.Applied(), applied)
	require.NoError(t, m.Confirm(t.Context()))
	require.NoError(t, m.Close())

	snapshots, err := filepath.Glob(filepath.Join(dir, raftName, "snapshots", "*"))
	require.NoError(t, err)
	require.Len(t, snapshots, 2)
	newest := snapshots[1]
	body, err := os.ReadFile(filepath.Join(newest, "state.bin"))
	require.NoError(t, err)
	body[len(body)/2] ^= 1
	require.NoError(t, os.WriteFile(filepath.Join(newest, "state.bin"), body, 0o600))
	e := refuse[*DataDirError](t, Config{Dir: dir, Bucket: b})
	require.ErrorContains(t, e, "damaged")
	body[len(body)/2] ^= 1
	require.NoError(t, os.WriteFile(filepath.Join(newest, "state.bin"), body, 0o600))
	require.NoError(t, open(t, dir, b).Close())

	// The newest one's description gone: raft would not even see it.
	require.NoError(t, os.Remove(filepath.Join(newest, "meta.json")))
	e = refuse[*DataDirError](t, Config{Dir: dir, Bucket: b})
	require.ErrorContains(t, e, "a snapshot is lost")
}
