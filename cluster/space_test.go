package cluster

import (
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/testcluster/bubble"
)

// disk is what a node is told of the room on its disk.
type disk struct {
	free  atomic.Uint64
	blind atomic.Bool
	looks atomic.Int64
}

var errBlind = errors.New("the disk does not say how much room it has")

// newDisk has room for a node that wants 1,000 bytes.
func newDisk() *disk {
	d := &disk{}
	d.free.Store(10000)
	return d
}

func (d *disk) config(c *Config) {
	c.MinFree = 1000
	c.FreeSpace = func(string) (uint64, error) {
		d.looks.Add(1)
		if d.blind.Load() {
			return 0, errBlind
		}
		return d.free.Load(), nil
	}
}

// set waits until the node has seen it.
func (d *disk) set(w *town, free uint64) {
	d.free.Store(free)
	looks := d.looks.Load()
	w.eventually(func() bool { return d.looks.Load() > looks+1 })
}

// townOnDisks forms three nodes that have disks.
func townOnDisks(t *testing.T) (*town, []*townNode, map[*townNode]*disk) {
	w := newTown(t)
	disks := make(map[*townNode]*disk)
	var nodes []*townNode
	for _, name := range []string{"n1", "n2", "n3"} {
		d := newDisk()
		n := w.node(name, expect(3), d.config)
		nodes, disks[n] = append(nodes, n), d
	}
	w.startAll(nodes...)
	return w, nodes, disks
}

// A leader whose disk is nearly full hands leadership over and gets no logs, until
// there is room; the group never has nobody to lead it.
func TestSpaceLeader(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w, nodes, disks := townOnDisks(t)
		for range 3 {
			old := w.leader(nodes...)
			disks[old].set(w, 999)
			var e *SpaceError
			require.ErrorAs(t, old.m().Space(), &e)
			require.Equal(t, SpaceError{Free: 999, Min: 1000}, *e)
			require.Equal(t, error(e), old.m().MayAttach())
			w.eventually(func() bool { return !old.m().Leads() })
			next := w.leader(nodes...)
			require.NotEqual(t, old, next)
			require.Positive(t, testutil.ToFloat64(old.m().metrics.abdications))
			require.EqualValues(t, 1, testutil.ToFloat64(old.m().metrics.short))
			require.EqualValues(t, 999, testutil.ToFloat64(old.m().metrics.free))
			leaves := func() bool {
				all, err := next.m().Standings(t.Context())
				require.NoError(t, err)
				for _, x := range all {
					if x.Identity == old.m().Identity() {
						return x.Report.Draining
					}
				}
				return false
			}
			w.eventually(leaves)
			proposeAt(t, old, "by-"+next.name+time.Now().Format("150405")) // it is a member all the same

			disks[old].set(w, 1100)
			require.Error(t, old.m().Space(), "a little room would soon be gone")
			disks[old].set(w, 1125)
			require.NoError(t, old.m().Space())
			require.NoError(t, old.m().MayAttach())
			require.Zero(t, testutil.ToFloat64(old.m().metrics.short))
			w.eventually(func() bool { return !leaves() })
		}
	})
}

// If no other node has room either, the leader leads on.
func TestSpaceNowhere(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w, nodes, disks := townOnDisks(t)
		leader := w.leader(nodes...)
		for _, n := range nodes {
			if n != leader {
				disks[n].set(w, 0)
			}
		}
		time.Sleep(5 * time.Second) // they have said so
		disks[leader].set(w, 0)
		term := leader.m().raft.CurrentTerm()
		time.Sleep(time.Minute)
		require.Error(t, leader.m().Space())
		require.True(t, leader.m().Leads())
		require.Equal(t, term, leader.m().raft.CurrentTerm())
		proposeAt(t, leader, "x")
	})
}

// A disk that does not say how much room there is changes nothing.
func TestSpaceUnknown(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		d := newDisk()
		n := w.node("n1", bootstrap, d.config)
		w.startAll(n)
		d.blind.Store(true)
		d.set(w, 0)
		require.NoError(t, n.m().Space())
		d.blind.Store(false)
		d.set(w, 0)
		require.Error(t, n.m().Space())
		require.True(t, n.m().Leads(), "there is no other")
		d.blind.Store(true)
		d.set(w, 10000)
		require.Error(t, n.m().Space())
		d.blind.Store(false)
		d.set(w, 10000)
		require.NoError(t, n.m().Space())
	})
}

// The operating system knows how much room there is, where we know how to ask.
func TestFreeSpace(t *testing.T) {
	free, err := freeSpace(t.TempDir())
	if errors.Is(err, errors.ErrUnsupported) {
		return
	}
	require.NoError(t, err)
	require.Positive(t, free)
	_, err = freeSpace(t.TempDir() + "/none")
	require.ErrorIs(t, err, os.ErrNotExist)
}
