package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/hashicorp/raft"

	"github.com/wpd-io/wpd/fsm"
)

// Remove takes a node out of the cluster, for ever: what it writes is sealed by
// others, its identity never comes back, its name is free for another node. It
// returns once the others don't count on its vote any more; should the leader
// crash in between, the next one goes on with that.
//
// Only the leader can do it: *NotLeaderError. A leader that is to be removed
// gives leadership up first, and answers *NotLeaderError too. Other errors are
// fs.ErrNotExist for an unknown node, *QuorumError if too few voters that
// answer would be left, *MemberError for the only voter, and those of Propose.
// Removing again changes nothing.
func (m *Member) Remove(ctx context.Context, identity string) error {
	// So that it judges by what is committed, and as the leader.
	if _, err := m.confirmHere(ctx); err != nil {
		return err
	}
	if err := m.awaitMayRemove(ctx, identity); err != nil {
		return err
	}
	if _, err := m.Propose(ctx, fsm.NewRemoveNode(identity)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove node %s: %w", identity, err)
	}
	m.logger.Info("a node is removed from the cluster", "identity", identity)
	return m.run(ctx, func() error { return m.dismiss(identity) })
}

// awaitMayRemove gives a new leader the time to hear of the others.
func (m *Member) awaitMayRemove(ctx context.Context, identity string) error {
	for {
		err := m.mayRemove(ctx, identity)
		if _, few := errors.AsType[*QuorumError](err); !few || time.Since(m.reignSince()) > wellHeartbeats*m.config.Heartbeat {
			return err
		}
		select {
		case <-time.After(enterTick):
		case <-m.closing:
			return ErrClosed
		case <-ctx.Done():
			return err
		}
	}
}

// mayRemove makes sure that the node is one, and that the group goes on without
// it.
func (m *Member) mayRemove(ctx context.Context, identity string) error {
	known := false
	m.View(func(s *fsm.State) { _, known = s.Node(identity) })
	voter, voters, well := false, 0, 0
	for _, s := range m.servers() {
		self := string(s.ID) == identity
		known = known || self
		switch {
		case s.Suffrage != raft.Voter:
		case self:
			voter = true
		default:
			voters++
			if m.well(s.ID) {
				well++
			}
		}
	}
	switch {
	case !known:
		return fmt.Errorf("node %s: %w", identity, fs.ErrNotExist)
	case !voter:
		return nil
	case voters == 0:
		return &MemberError{Identity: identity, Reason: "is the only voter: it can't be removed"}
	case well < voters/2+1:
		return &QuorumError{Identity: identity, Well: well, Voters: voters}
	case identity == m.me.Identity:
		if err := m.TransferLeader(ctx, ""); err != nil {
			return err
		}
		return &NotLeaderError{Leader: m.Leader()}
	}
	return nil
}

// dismiss takes a server out of raft's configuration.
func (m *Member) dismiss(identity string) error {
	if err := m.raft.RemoveServer(raft.ServerID(identity), 0, enqueueTimeout).Error(); err != nil {
		return fmt.Errorf("remove %s from the raft group: %w", identity, m.raftError(err))
	}
	return nil
}
