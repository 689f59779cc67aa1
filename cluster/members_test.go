package cluster

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// refusedStart opens a node and demands an error of type E.
func refusedStart[E error](t *testing.T, n *townNode) E {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	err := n.start(ctx)
	e, ok := errors.AsType[E](err)
	require.Truef(t, ok, "got %v (%T), want a %T", err, err, e)
	t.Log(err)
	return e
}

// removeAtLeader removes a node as who runs the cluster does: at the leader,
// whoever that is by then.
func removeAtLeader(t *testing.T, w *town, nodes []*townNode, identity string) error {
	t.Helper()
	for {
		err := w.leader(nodes...).m().Remove(t.Context(), identity)
		if !errors.Is(err, ErrNotLeader) {
			return err
		}
	}
}

// One node makes a cluster and others join: up to three become voters, further
// ones have the same metadata.
func TestGrow(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		first := w.node("n1", bootstrap)
		begin := time.Now()
		w.startAll(first)
		require.Less(t, time.Since(begin), time.Second, "alone, nobody is waited for")
		proposeAt(t, first, "a")
		nodes := []*townNode{first}
		for _, name := range []string{"n2", "n3", "n4", "n5"} {
			n := w.node(name)
			w.startAll(n)
			nodes = append(nodes, n)
			require.Equal(t, first.m().ClusterID(), n.m().ClusterID())
			proposeAt(t, n, name)
		}
		want := voters("n1", "n2", "n3")
		want["n4"], want["n5"] = RoleNonVoter, RoleNonVoter
		w.eventually(func() bool {
			got := roles(first.m())
			return got["n2"] == RoleVoter && got["n3"] == RoleVoter
		})
		time.Sleep(time.Minute)
		leader := w.leader(nodes...).m()
		require.Equal(t, want, roles(leader))
		for _, n := range nodes {
			require.NoError(t, n.m().Confirm(t.Context()))
			require.Equal(t, []string{"a", "n2", "n3", "n4", "n5"}, logNames(n.m()))
		}
		for _, i := range leader.Members() {
			require.NotZero(t, i.Contact)
			require.Less(t, time.Since(i.Contact), time.Second)
			require.NotZero(t, i.Index)
			require.Zero(t, i.Trails)
			require.NotEmpty(t, i.Raft)
		}
		for _, i := range nodes[4].m().Members() {
			require.Equal(t, i.Name == "n5", !i.Contact.IsZero(), "only the leader hears of others")
		}

		// With one voter gone for good, one of the others takes its place.
		gone := nodes[1]
		gone.close()
		w.eventually(func() bool {
			return removeAtLeader(t, w, nodes, w.identity("n2")) == nil
		})
		w.eventually(func() bool { return len(voterNames(w.leader(nodes...).m())) == 3 })
	})
}

// voterNames returns the names of the voters.
func voterNames(m *Member) (names []string) {
	for _, i := range m.Members() {
		if i.Role == RoleVoter {
			names = append(names, i.Name)
		}
	}
	return names
}

// identity returns the identity that the metadata has for a name.
func (w *town) identity(name string) (identity string) {
	for _, n := range w.nodes {
		if m := n.m(); m != nil {
			m.View(func(s *fsm.State) {
				if x, ok := s.NodeByName(name); ok {
					identity = x.Identity
				}
			})
		}
	}
	require.NotEmpty(w.t, identity)
	return identity
}

// Kill whoever leads: the others go on within seconds, and it comes back as
// what it was.
func TestFailover(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3)
		for range 5 {
			leader := w.leader(nodes...)
			identity, boot := leader.m().Identity(), leader.m().Boot()
			begin := time.Now()
			leader.close()
			next := w.leader(nodes...)
			require.NotSame(t, leader, next)
			require.Less(t, time.Since(begin), 8*time.Second)
			proposeAt(t, next, "by-"+next.m().Identity()+leader.name)
			w.startAll(leader)
			require.Equal(t, identity, leader.m().Identity())
			require.Equal(t, boot+1, leader.m().Boot())
			require.Equal(t, voters("n1", "n2", "n3"), roles(leader.m()))
			m := w.leader(nodes...).m()
			m.View(func(s *fsm.State) { require.NoError(t, s.Check()) })
			if m.Identity() == next.m().Identity() {
				_, err := m.Propose(t.Context(), fsm.NewDeleteLog(logID(m, "by-"+m.Identity()+leader.name)))
				require.NoError(t, err)
			}
		}
	})
}

// A leader that is cut off leads no more; when it is back it follows, and what
// it could not commit is gone.
func TestIsolatedLeader(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3)
		old := w.leader(nodes...)
		old.isolate(true)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		_, err := old.m().Propose(ctx, fsm.NewCreateLog("lost", fsm.LogConfig{EntryBytesMax: 1}, 7))
		cancel()
		require.Error(t, err)
		require.False(t, old.m().Leads())
		next := w.leader(nodes...)
		require.NotSame(t, old, next)
		proposeAt(t, next, "kept")
		old.isolate(false)
		w.eventually(func() bool { return old.m().Leader() == next.m().Identity() })
		require.NoError(t, old.m().Confirm(t.Context()))
		require.Equal(t, []string{"kept"}, logNames(old.m()))
	})
}

// A voter that was cut off for long asks before it stands for election, so that
// its return disturbs nobody.
func TestPreVote(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3)
		leader := w.leader(nodes...)
		cut := nodes[0]
		if cut == leader {
			cut = nodes[1]
		}
		term := leader.m().raft.CurrentTerm()
		cut.isolate(true)
		time.Sleep(time.Minute)
		require.Empty(t, cut.m().Leader())
		require.Equal(t, term, cut.m().raft.CurrentTerm())
		cut.isolate(false)
		w.eventually(func() bool { return cut.m().Leader() == leader.m().Identity() })
		require.Equal(t, term, leader.m().raft.CurrentTerm())
	})
}

func logID(m *Member, name string) (id fragment.LogID) {
	m.View(func(s *fsm.State) {
		if l, ok := s.LogByName(name); ok {
			id = l.ID
		}
	})
	return id
}

// A node that began without a network gets one, and others join it.
func TestGrowFromAlone(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		n1 := w.node("n1", bootstrap)
		networked := n1.config
		n1.config = Config{Name: "n1", Bucket: w.bucket, wrap: networked.wrap}
		require.NoError(t, n1.start(t.Context()))
		proposeAt(t, n1, "a")
		cluster := n1.m().ClusterID()
		n1.close()
		n1.config = networked
		w.startAll(n1)
		require.Equal(t, cluster, n1.m().ClusterID())
		n2, n3 := w.node("n2"), w.node("n3")
		w.startAll(n2)
		w.startAll(n3)
		w.eventually(func() bool { return len(voterNames(n1.m())) == 3 })
		require.Equal(t, []string{"a"}, logNames(n3.m()))
		for _, i := range n1.m().Members() {
			require.Equal(t, w.nodes[i.Name].config.Listen, i.Raft)
		}
		// And back: it has company now.
		for _, n := range []*townNode{n1, n2, n3} {
			n.close()
		}
		n1.config = Config{Name: "n1", Bucket: w.bucket, wrap: networked.wrap}
		e := refusedStart[*GroupError](t, n1)
		require.Equal(t, 3, e.Members)
		n1.config = networked
		w.startAll(n1, n2, n3)
	})
}

// A removed node stays out: it fails while it runs, or is told when it starts.
func TestRemove(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3)
		n4 := w.node("n4")
		w.startAll(n4)
		all := append(nodes, n4)

		// A voter that runs; its chain is being sealed, its place is taken.
		leader := w.leader(nodes...)
		victim := nodes[0]
		if victim == leader {
			victim = nodes[1]
		}
		identity := victim.m().Identity()
		epoch, err := victim.m().Grant(t.Context(), 8, 0)
		require.NoError(t, err)
		require.NoError(t, leader.m().Remove(t.Context(), identity))
		require.NoError(t, leader.m().Remove(t.Context(), identity), "again")
		<-victim.m().Failed()
		e, ok := errors.AsType[*RemovedError](victim.m().Err())
		require.True(t, ok, victim.m().Err())
		require.Equal(t, identity, e.Identity)
		leader.m().View(func(s *fsm.State) {
			c, _ := s.Chain(epoch)
			require.Equal(t, fsm.ChainSealing, c.State)
		})
		victim.close()
		w.eventually(func() bool { return roles(w.leader(all...).m())["n4"] == RoleVoter })
		require.NotContains(t, roles(w.leader(all...).m()), victim.name)
		refusedStart[*RemovedError](t, victim)
		refusedStart[*RemovedError](t, victim)

		// Wiped, it is a new member of its old name.
		victim.wipe()
		w.startAll(victim)
		require.NotEqual(t, identity, victim.m().Identity())
		require.Equal(t, uint64(1), victim.m().Boot())

		// The leader itself hands over first.
		leader = w.leader(all...)
		identity = leader.m().Identity()
		require.ErrorIs(t, leader.m().Remove(t.Context(), identity), ErrNotLeader)
		require.NoError(t, removeAtLeader(t, w, all, identity))
		<-leader.m().Failed()
		leader.close()

		require.ErrorIs(t, removeAtLeader(t, w, all, "nobody-0123456789abcdef"), fs.ErrNotExist)
	})
}

// A node that takes leases to last for another time than the leader does stops.
func TestLeaseTTL(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3)
		for _, ttl := range []time.Duration{2 * time.Second, 10 * time.Second} {
			n := w.node("other-"+ttl.String(), func(c *Config) { c.TTL = ttl })
			if err := n.start(t.Context()); err == nil {
				<-n.m().Failed()
			} else {
				require.ErrorContains(t, err, "lease")
			}
			e, ok := errors.AsType[*LeaseTTLError](n.m().Err())
			require.True(t, ok, n.m().Err())
			require.Equal(t, &LeaseTTLError{Have: ttl, Want: 3 * time.Second}, e)
			require.ErrorContains(t, e, "start this one with lease_ttl 3s")
			n.close()
		}
		w.leader(nodes...)
	})
}

// A node that is removed while it is cut off, or down, or had no vote, learns
// of it when it can.
func TestRemovedUnaware(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3)
		n4, n5 := w.node("n4"), w.node("n5")
		w.startAll(n4, n5)
		leader := w.leader(nodes...)
		voter := nodes[0]
		if voter == leader {
			voter = nodes[1]
		}
		voter.isolate(true)
		n4.isolate(true)
		n5.close()
		for _, n := range []string{voter.name, "n4", "n5"} {
			require.NoError(t, leader.m().Remove(t.Context(), w.identity(n)))
		}
		require.NoError(t, voter.m().Err())
		require.NoError(t, n4.m().Err())
		voter.isolate(false)
		n4.isolate(false)
		for _, n := range []*townNode{voter, n4} {
			<-n.m().Failed()
			_, ok := errors.AsType[*RemovedError](n.m().Err())
			require.True(t, ok, n.m().Err())
			n.close()
		}
		refusedStart[*RemovedError](t, n5)
		require.Equal(t, leader.m().Identity(), w.leader(nodes...).m().Identity(), "nobody disturbed the leader")
	})
}

// A removal must leave a majority that answers.
func TestRemoveKeepsMajority(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3)
		leader := w.leader(nodes...)
		var others []*townNode
		for _, n := range nodes {
			if n != leader {
				others = append(others, n)
			}
		}
		others[0].isolate(true)
		time.Sleep(10 * time.Second)
		err := leader.m().Remove(t.Context(), others[1].m().Identity())
		e, ok := errors.AsType[*QuorumError](err)
		require.True(t, ok, err)
		require.Equal(t, QuorumError{Identity: others[1].m().Identity(), Well: 1, Voters: 2}, *e)
		require.NoError(t, leader.m().Remove(t.Context(), others[0].m().Identity()))
		proposeAt(t, others[1], "goes-on")
	})
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		n1 := w.node("n1", bootstrap)
		w.startAll(n1)
		err := n1.m().Remove(t.Context(), n1.m().Identity())
		_, ok := errors.AsType[*MemberError](err)
		require.True(t, ok, err)
	})
}

// Nodes that were not heard of for long are removed, as long as a majority
// stays; and what was removed can't come back.
func TestRemoveDead(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		dead := func(c *Config) { c.Autopilot.RemoveDeadAfter = 10 * time.Minute }
		nodes := w.form(3, dead)
		n4 := w.node("n4", dead)
		w.startAll(n4)
		leader := w.leader(nodes...)
		var others []*townNode
		for _, n := range nodes {
			if n != leader {
				others = append(others, n)
			}
		}
		others[0].close()
		n4.close()
		time.Sleep(9 * time.Minute)
		require.Len(t, roles(leader.m()), 4)
		time.Sleep(2 * time.Minute)
		require.Len(t, roles(w.leader(nodes...).m()), 2)
		leader.m().View(func(s *fsm.State) {
			removed := 0
			for n := range s.Nodes() {
				if n.Removed {
					removed++
				}
			}
			require.Equal(t, 2, removed)
		})
		refusedStart[*RemovedError](t, n4)
		refusedStart[*RemovedError](t, others[0])
		// The last but one stays, dead or not: alone, the leader could not tell
		// that it is not the one who is cut off.
		others[1].close()
		time.Sleep(30 * time.Minute)
		require.Len(t, roles(leader.m()), 2)
		w.startAll(others[1])
		proposeAt(t, others[1], "goes-on")
	})
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3, func(c *Config) { c.Autopilot.RemoveDeadAfter = -1 })
		leader := w.leader(nodes...)
		for _, n := range nodes {
			if n != leader {
				n.close()
				break
			}
		}
		time.Sleep(30 * time.Minute)
		require.Len(t, roles(w.leader(nodes...).m()), 3)
	})
}

// A node whose directory was wiped comes back under its name as another member,
// in place of the one that it was.
func TestWiped(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3)
		leader := w.leader(nodes...)
		victim := nodes[2]
		if victim == leader {
			victim = nodes[1]
		}
		was := victim.m().Identity()
		victim.close()
		victim.wipe()
		w.startAll(victim)
		is := victim.m().Identity()
		require.NotEqual(t, was, is)
		leader.m().View(func(s *fsm.State) {
			n, _ := s.Node(was)
			require.True(t, n.Removed)
			n, ok := s.NodeByName(victim.name)
			require.True(t, ok)
			require.Equal(t, is, n.Identity)
		})
		w.eventually(func() bool { return roles(leader.m())[victim.name] == RoleVoter })
		require.Equal(t, voters("n1", "n2", "n3"), roles(leader.m()))
	})
}

// A second node under the name of one that is alive is refused, and says what
// to do.
func TestNameTaken(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3)
		twin := w.node("n2")
		e := refusedStart[*NameTakenError](t, twin)
		require.Equal(t, nodes[1].m().Identity(), e.Holder)
		require.ErrorContains(t, e, "wpd cluster remove "+e.Holder)
		require.Equal(t, voters("n1", "n2", "n3"), roles(w.leader(nodes...).m()))
		require.NoError(t, nodes[1].m().Err())

		// Removed by hand, the name is free at once.
		identity := nodes[1].m().Identity()
		require.NoError(t, removeAtLeader(t, w, nodes, identity))
		w.startAll(twin)
	})
}

// reigns returns the names of those who say, in any way, that they lead.
func reigns(nodes ...*townNode) (names string) {
	for _, n := range nodes {
		if m := n.m(); testutil.ToFloat64(m.metrics.leads) != 0 || m.reigned.Load() != nil {
			names += n.name
		}
	}
	return names
}

// What a leader heard in an earlier reign is no sign of death in the next one,
// whatever it notices first of that: whoever was not heard of yet has a TTL.
func TestAliveInLaterReign(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		m := w.leader(w.form(3)...).m()
		const gone = "n9-0123456789abcdef"
		alive := func(term uint64) bool {
			t.Helper()
			alive, err := m.alive(term, gone)
			require.NoError(t, err)
			return alive
		}
		term, err := m.confirmHere(t.Context())
		require.NoError(t, err)
		time.Sleep(time.Minute)
		require.False(t, alive(term))
		later := term + 1 // that nothing but this knows of
		require.True(t, alive(later))
		time.Sleep(m.config.TTL - time.Nanosecond)
		require.True(t, alive(later))
		time.Sleep(time.Nanosecond)
		require.False(t, alive(later))
		_, err = m.alive(term, gone)
		require.ErrorIs(t, err, ErrNotLeader, "what was confirmed then is over")
	})
}

func TestTransferLeader(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3)
		n4 := w.node("n4")
		w.startAll(n4)
		leader := w.leader(nodes...)
		require.NoError(t, leader.m().TransferLeader(t.Context(), leader.m().Identity()), "it is already")
		for _, n := range nodes {
			leader = w.leader(nodes...)
			since := leader.m().reignSince()
			require.NoError(t, leader.m().TransferLeader(t.Context(), n.m().Identity()))
			require.Same(t, n, w.leader(nodes...))
			if n != leader { // else its reign goes on
				since = time.Now()
			}
			w.eventually(func() bool { return reigns(nodes...) == n.name })
			require.WithinDuration(t, since, n.m().reignSince(), time.Second)
			time.Sleep(time.Minute)
		}
		require.NoError(t, w.leader(nodes...).m().TransferLeader(t.Context(), ""))
		leader = w.leader(nodes...)
		for _, id := range []string{n4.m().Identity(), "nobody"} {
			err := leader.m().TransferLeader(t.Context(), id)
			_, ok := errors.AsType[*MemberError](err)
			require.True(t, ok, err)
		}
		require.ErrorIs(t, n4.m().TransferLeader(t.Context(), ""), ErrNotLeader)
		require.ErrorIs(t, n4.m().Remove(t.Context(), leader.m().Identity()), ErrNotLeader)
	})
}

// A snapshot holds all that was committed before it was asked for, wherever.
func TestMemberSnapshot(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3)
		for i, n := range nodes {
			proposeAt(t, nodes[(i+1)%3], "log-"+n.name)
			var b bytes.Buffer
			require.NoError(t, n.m().Snapshot(t.Context(), &b))
			s, err := fsm.Restore(bytes.NewReader(b.Bytes()))
			require.NoError(t, err)
			require.Equal(t, i+1, s.LogCount())
			b.Bytes()[b.Len()/2] ^= 1
			_, err = fsm.Restore(&b)
			require.Error(t, err)
		}
	})
}

// Raft's pipeline can lock up a member whose request was refused, see
// newGroupTransport: there must be none.
func TestNoPipeline(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3)
		for _, n := range nodes {
			for _, s := range n.m().servers() {
				_, err := n.m().transport.AppendEntriesPipeline(s.ID, s.Address)
				require.ErrorIs(t, err, raft.ErrPipelineReplicationNotSupported)
			}
		}
	})
}
