package cluster

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// freezers puts a freezer under each node's raft log.
func freezers(nodes map[*townNode]*freezer) func(*townNode) {
	return func(n *townNode) {
		f := &freezer{LogStore: n.stores.logs}
		nodes[n] = f
		wrap := n.config.wrap
		n.config.wrap = func(s *stores) {
			wrap(s)
			s.logs = f
		}
	}
}

// A leader whose disk freezes gives leadership up, though its heartbeats would
// go on for ever; once the disk works again it follows.
func TestWatchdogFrozenDisk(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		disks := map[*townNode]*freezer{}
		var nodes []*townNode
		for _, name := range []string{"n1", "n2", "n3"} {
			n := w.node(name, expect(3))
			freezers(disks)(n)
			nodes = append(nodes, n)
		}
		w.startAll(nodes...)
		old := w.leader(nodes...)
		m := old.m()
		disks[old].freeze()
		begin := time.Now()
		outcome := make(chan error, 1)
		go func() {
			_, err := m.Propose(t.Context(), fsm.NewCreateLog("stuck", fsm.LogConfig{EntryBytesMax: 1}, 7))
			outcome <- err
		}()
		var others []*townNode
		for _, n := range nodes {
			if n != old {
				others = append(others, n)
			}
		}
		next := w.leader(others...)
		require.Positive(t, disks[old].hits(), "the disk was frozen")
		require.GreaterOrEqual(t, time.Since(begin), 3*time.Second)
		require.Less(t, time.Since(begin), 10*time.Second)
		proposeAt(t, next, "goes-on")
		require.Equal(t, raft.Leader, m.raft.State(), "raft hangs in the write, and believes that it leads")

		disks[old].thaw()
		w.eventually(func() bool { return !m.Leads() && m.Leader() == next.m().Identity() })
		require.NoError(t, m.Err())
		require.NoError(t, m.Confirm(t.Context()))
		require.Contains(t, logNames(m), "goes-on")
		<-outcome // committed or not, it ends
		require.NoError(t, next.m().Confirm(t.Context()))
		require.Equal(t, logNames(next.m()), logNames(m))
	})
}

// A leader whose state stands still hands leadership over.
func TestWatchdogFrozenState(t *testing.T) {
	w := newRealTown(t)
	nodes := w.form(3, func(c *Config) { c.Heartbeat, c.StallMax = 500*time.Millisecond, 500*time.Millisecond })
	var m *Member
	var release func()
	for m == nil { // leadership may just be moving, on a busy machine
		old := w.leader(nodes...).m()
		release = holdState(old)
		if old.Leads() {
			m = old
		} else {
			release()
		}
	}
	defer release()
	var others []*Member
	for _, n := range nodes {
		if n.m() != m {
			others = append(others, n.m())
		}
	}
	proposed := make(chan error, 1)
	go func() {
		_, err := others[0].Propose(t.Context(), fsm.NewCreateLog("stalls-the-leader", fsm.LogConfig{EntryBytesMax: 1}, 7))
		proposed <- err
	}()
	w.eventually(func() bool { return others[0].Leads() || others[1].Leads() })
	w.eventually(func() bool { return m.workBusy.lasts() > 0 })
	release()
	if err := <-proposed; !errors.Is(err, ErrUncertain) {
		require.NoError(t, err)
	}
	require.NoError(t, m.Confirm(t.Context()))
	require.Equal(t, []string{"stalls-the-leader"}, logNames(m))
}

// holdState keeps commands from a member's state until release is called.
func holdState(m *Member) (release func()) {
	held, over, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		m.View(func(*fsm.State) {
			close(held)
			<-over
		})
	}()
	<-held
	return sync.OnceFunc(func() {
		close(over)
		<-done
	})
}

// Alone, a leader has nobody to give leadership to, and goes on afterwards.
func TestWatchdogAlone(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		disks := map[*townNode]*freezer{}
		n := w.node("n1", bootstrap)
		freezers(disks)(n)
		w.startAll(n)
		disks[n].freeze()
		done := make(chan struct{})
		go func() {
			defer close(done)
			proposeAt(t, n, "late")
		}()
		time.Sleep(30 * time.Second)
		require.Positive(t, disks[n].hits())
		disks[n].thaw()
		<-done
		require.True(t, n.m().Leads())
	})
}

// A leader whose disk is full fails, as any member does, and the others go on at
// once: before anybody has closed it.
func TestWatchdogFullDisk(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		fails := map[*townNode]failingLogs{}
		var nodes []*townNode
		for _, name := range []string{"n1", "n2", "n3"} {
			n := w.node(name, expect(3))
			f := failingLogs{LogStore: n.stores.logs, fail: make(chan struct{})}
			fails[n] = f
			wrap := n.config.wrap
			n.config.wrap = func(s *stores) {
				wrap(s)
				s.logs = f
			}
			nodes = append(nodes, n)
		}
		w.startAll(nodes...)
		old := w.leader(nodes...)
		close(fails[old].fail)
		begin := time.Now()
		_, err := old.m().Propose(t.Context(), fsm.NewCreateLog("stuck", fsm.LogConfig{EntryBytesMax: 1}, 7))
		require.Error(t, err)
		<-old.m().Failed()
		require.ErrorIs(t, old.m().Err(), errStore)
		var others []*townNode
		for _, n := range nodes {
			if n != old {
				others = append(others, n)
			}
		}
		next := w.leader(others...)
		require.Less(t, time.Since(begin), 8*time.Second)
		proposeAt(t, next, "goes-on")
		// It fails again and again, until the disk has room.
		old.close()
		require.Error(t, old.start(t.Context()))
		f := fails[old]
		old.config.wrap = func(s *stores) { *s = *old.stores }
		require.True(t, errors.Is(f.StoreLogs(nil), errStore))
		w.startAll(old)
		require.Contains(t, logNames(old.m()), "goes-on")
	})
}
