package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/wal/offline"
)

// frail is a disk that fails at its n-th write, and at all that follow.
type frail struct {
	raft.StableStore
	raft.LogStore
	raft.SnapshotStore
	left int
}

var errDisk = errors.New("the disk is full")

func (f *frail) write(do func() error) error {
	if f.left--; f.left <= 0 {
		return errDisk
	}
	return do()
}

func (f *frail) Set(k, v []byte) error {
	return f.write(func() error { return f.StableStore.Set(k, v) })
}
func (f *frail) SetUint64(k []byte, v uint64) error {
	return f.write(func() error { return f.StableStore.SetUint64(k, v) })
}
func (f *frail) DeleteRange(a, b uint64) error {
	return f.write(func() error { return f.LogStore.DeleteRange(a, b) })
}

func (f *frail) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, t raft.Transport) (s raft.SnapshotSink, err error) {
	err = f.write(func() error { s, err = f.SnapshotStore.Create(v, index, term, c, at, t); return err })
	return s, err
}

func (f *frail) wrap(s *stores) {
	f.StableStore, f.LogStore, f.SnapshotStore = s.stable, s.logs, s.snaps
	s.stable, s.logs, s.snaps = f, f, f
}

// recoverIn makes the next incarnation of a cluster without chains.
func recoverIn(t *testing.T, c RecoveryConfig) (*RecoveryReport, error) {
	t.Helper()
	r, err := OpenRecovery(t.Context(), c)
	if err != nil {
		return nil, err
	}
	defer func() { require.NoError(t, r.Close()) }()
	said, err := r.Preview(t.Context(), Found{})
	require.NoError(t, err)
	if err := r.Begin(t.Context(), Found{}); err != nil {
		return nil, err
	}
	done, err := r.Finish(t.Context(), Found{})
	if err == nil {
		require.Equal(t, said, done)
	}
	return done, err
}

// TestRecoveryOnFrailDisk cuts a recovery off at each of its writes to the data
// directory. No member opens on what is left, and the next recovery goes through,
// with the same metadata.
func TestRecoveryOnFrailDisk(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	m := open(t, dir, b)
	for i := range 3 {
		_, err := m.Propose(t.Context(), fsm.NewCreateLog(fmt.Sprint("log-", i), fsm.LogConfig{EntryBytesMax: 1}, 0))
		require.NoError(t, err)
	}
	logs := logNames(m)
	require.NoError(t, m.Close())
	identities := map[string]bool{m.Identity(): true}
	incarnation := uint64(1)
	for n := 1; ; n++ {
		disk := &frail{left: n}
		_, err := recoverIn(t, RecoveryConfig{Dir: dir, Bucket: b, wrap: disk.wrap})
		if err == nil {
			require.Greater(t, n, 6)
			break
		}
		require.ErrorIs(t, err, errDisk)
		if n > 1 { // the first write is the mark
			cut := refuse[*RecoveryCutError](t, Config{Dir: dir, Bucket: b})
			require.Greater(t, cut.Incarnation, incarnation)
		}
		r, err := recoverIn(t, RecoveryConfig{Dir: dir, Bucket: b})
		require.NoError(t, err)
		require.Greater(t, r.Incarnation, incarnation)
		incarnation = r.Incarnation
		m := open(t, dir, b)
		require.Equal(t, incarnation, m.Incarnation())
		require.Equal(t, logs, logNames(m))
		require.False(t, identities[m.Identity()], "a new one each time")
		identities[m.Identity()] = true
		m.View(func(s *fsm.State) {
			for x := range s.Nodes() {
				require.Equal(t, x.Identity != m.Identity(), x.Removed)
			}
		})
		require.NoError(t, m.Close())
	}
}

// TestOver: members of an earlier incarnation don't open any more, and those
// that are open find out.
func TestOver(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	m := open(t, dir, b)
	require.NoError(t, m.CheckIncarnation(t.Context()))
	var saved bytes.Buffer
	require.NoError(t, m.Snapshot(t.Context(), &saved))
	now := t.TempDir()
	r, err := recoverIn(t, RecoveryConfig{Dir: now, Bucket: b, Snapshot: &saved})
	require.NoError(t, err)
	var over *OverError
	require.ErrorAs(t, m.CheckIncarnation(t.Context()), &over)
	require.ErrorIs(t, over, fs.ErrExist)
	require.Equal(t, OverError{Dir: dir, Mine: 1, Incarnation: 2, Key: fragment.IncarnationKey(2), By: r.Identity}, *over)
	require.ErrorContains(t, over, "by node "+r.Identity+", and")
	require.ErrorContains(t, over, "move data directory "+dir+" away")
	require.ErrorContains(t, &OverError{}, "recovered, and")
	require.ErrorContains(t, &OverError{}, "member, start it with an empty data directory")
	require.NoError(t, m.Close())
	refuse[*OverError](t, Config{Dir: dir, Bucket: b})
	x := open(t, now, b)
	require.NoError(t, x.CheckIncarnation(t.Context()))
	require.Equal(t, r.Identity, x.Identity())
}

// TestRecoveryOfUncommitted: where the raft log of a node that is left holds what
// was never committed, and the bucket tells otherwise, the bucket counts: a log
// under another name, a stay that did not end, and an attachment that another
// log has.
func TestRecoveryOfUncommitted(t *testing.T) {
	dir, b := t.TempDir(), newBucket()
	m := open(t, dir, b)
	apply := func(c *fsm.Result, err error) *fsm.Result {
		t.Helper()
		require.NoError(t, err)
		return c
	}
	log := func(name string) fragment.LogID {
		r, err := m.Propose(t.Context(), fsm.NewCreateLog(name, fsm.LogConfig{EntryBytesMax: 1000}, 0))
		return apply(&r, err).Log.ID
	}
	a, x, c := log("a"), log("x"), log("c")
	r, err := m.Propose(t.Context(), fsm.NewGrantChain(m.Identity(), m.Boot(), 4, fsm.KindObjects, 0))
	epoch := apply(&r, err).Epoch
	attach := func(id fragment.LogID) fragment.Attachment {
		r, err := m.Propose(t.Context(), fsm.NewAttach(id, epoch, 1, 0, false))
		return apply(&r, err).Attachment
	}
	at1, at2, at3 := attach(a), attach(x), attach(c)
	r, err = m.Propose(t.Context(), fsm.NewDetach(a, at1, 5))
	apply(&r, err)
	identity, boot := m.Identity(), m.Boot()
	require.NoError(t, m.Close())

	stay := func(id fragment.LogID, name string, at fragment.Attachment, end fragment.LSN) offline.FoundStay {
		return offline.FoundStay{
			Log: id, Attachment: at, Epoch: epoch, First: 1, End: end,
			Attached: &fragment.Attached{Log: id, Attachment: at, Name: name, First: 1, Trim: 1},
		}
	}
	found := Found{
		Chains: []*offline.FoundChain{{
			Epoch: epoch, Opening: &fragment.Opening{Node: identity, Boot: boot, Window: 4}, Incarnation: 1, Highest: 1, End: 9, Sealed: true,
			Stays: []offline.FoundStay{stay(a, "a", at1, 8), stay(x, "y", at2, 3), stay(9, "z", at3, 2)},
		}},
		Seals: map[fragment.Epoch]fsm.Seal{epoch: {At: 9, Index: fsm.Ref{Key: "i", Size: 1}}},
	}
	rec, err := OpenRecovery(t.Context(), RecoveryConfig{Dir: dir, Bucket: b})
	require.NoError(t, err)
	require.Equal(t, []fragment.Epoch{epoch}, rec.Suspects())
	require.NoError(t, rec.Begin(t.Context(), found))
	report, err := rec.Finish(t.Context(), found)
	require.NoError(t, err)
	require.NoError(t, rec.Close())
	require.Len(t, report.Conflicts, 3)
	m = open(t, dir, b)
	m.View(func(s *fsm.State) {
		l, ok := s.Log(a)
		require.True(t, ok)
		require.Equal(t, []fsm.Extent{{Epoch: epoch, Attachment: at1, First: 1}}, l.Extents, "it did not end at 5")
		l, ok = s.LogByName("y")
		require.True(t, ok)
		require.Equal(t, x, l.ID)
		_, ok = s.LogByName("x")
		require.False(t, ok)
		l, ok = s.LogByName("z")
		require.True(t, ok)
		require.Equal(t, at3, l.Extents[0].Attachment)
		l, ok = s.LogByName("c")
		require.True(t, ok)
		require.Empty(t, l.Extents)
	})
}
