package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/wpd-io/wpd/fragment"
)

// Confirm returns nil once this node is known to have led at some moment
// after the call, and to have applied everything that was committed before
// the call: what View shows then is at least as recent as the call. It writes
// to raft only once per term.
//
// Errors are ErrNotLeader, ErrBusy, ErrClosed, ErrFailed, and the end of ctx.
func (m *Member) Confirm(ctx context.Context) error {
	if err := m.usable(ctx); err != nil {
		return err
	}
	_, err := m.run(ctx, m.confirm)
	return confirmError(err)
}

// confirmError drops what is only true of a proposal: a confirmation that did
// not come has changed nothing.
func confirmError(err error) error {
	if u, ok := errors.AsType[*UncertainError](err); ok {
		return fmt.Errorf("confirm: %w", u.Err)
	}
	return err
}

func (m *Member) confirm() error {
	// Before a barrier of its own term has passed, a leader does not know how
	// far the group has committed (Raft thesis, 6.4).
	term := m.raft.CurrentTerm()
	if m.barrierTerm.Load() != term {
		return m.barrier()
	}
	commit := m.raft.CommitIndex()
	if err := m.raft.VerifyLeader().Error(); err != nil {
		return m.raftError(err)
	}
	if m.raft.CurrentTerm() != term {
		return m.barrier()
	}
	// Every entry after a barrier is a command, a configuration or another
	// barrier; all of them raise the mark.
	if !m.machine.passed.wait(commit, m.closing, m.failed) {
		if err := m.Err(); err != nil {
			return err
		}
		return ErrClosed
	}
	return m.Err()
}

// barrier puts an entry through raft: once it is committed, all before it is
// applied.
func (m *Member) barrier() error {
	term := m.raft.CurrentTerm()
	future := m.raft.Barrier(enqueueTimeout)
	if err := future.Error(); err != nil {
		return m.raftError(err)
	}
	m.machine.passed.raise(future.(raft.IndexFuture).Index())
	if m.raft.CurrentTerm() == term {
		m.barrierTerm.Store(term)
	}
	return m.Err()
}

// CheckRaftIndex judges what a fragment's header says of its writer: the nonce
// of its boot, the incarnation, and the raft index that it had applied. More
// than the metadata has, after a confirmation, means that the metadata was
// rolled back: *RolledBackError, and the node must stop. where names the
// object.
//
// In a group of one, whatever another boot wrote was written before this one:
// its index lies within what raft's log held when this boot began. Without
// that, the entries of this boot's own start would hide that others are
// missing.
func (m *Member) CheckRaftIndex(ctx context.Context, where string, nonce fragment.Nonce, incarnation, index uint64) error {
	judge := func() error {
		have := m.Incarnation()
		most := m.Applied()
		if nonce != m.boot.nonce {
			most = m.began
		}
		switch {
		case incarnation > have:
			return &RolledBackError{What: "incarnation", Where: where, Found: incarnation, Have: have}
		case incarnation == have && index > most:
			return &RolledBackError{What: "raft index", Where: where, Found: index, Have: most}
		}
		return nil
	}
	if judge() == nil {
		return nil
	}
	// We may only trail: the object was read before this confirmation.
	if err := m.Confirm(ctx); err != nil {
		return err
	}
	return judge()
}
