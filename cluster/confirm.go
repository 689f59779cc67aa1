package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/wpd-io/wpd/fragment"
)

// Confirm returns nil once a leader is known to have led at some moment after
// the call, and this member to have applied everything that was committed
// before the call: what View shows then is at least as recent as the call. All
// who ask at a time share one round. It writes to raft only once per term, and
// works at every member: one that does not lead asks the leader, and waits for
// one as long as ctx lasts.
//
// Errors are ErrClosed, ErrFailed, and the end of ctx, then perhaps with
// ErrNotLeader, ErrBusy or ErrUnreachable, which say what it waited for.
func (m *Member) Confirm(ctx context.Context) error {
	return m.retrying(ctx, func() error {
		_, err := m.confirms.do(ctx)
		return err
	})
}

// confirmError drops what is only true of a proposal: a confirmation that did
// not come has changed nothing.
func confirmError(err error) error {
	if u, ok := errors.AsType[*UncertainError](err); ok {
		return fmt.Errorf("confirm: %w", u.Err)
	}
	return err
}

// confirmOnce is a round of confirms.
func (m *Member) confirmOnce(ctx context.Context) (index uint64, err error) {
	err = m.atLeader(ctx, func() error {
		_, err := m.reign.do(ctx)
		return err
	}, func(ctx context.Context, addr string) error {
		index, err = m.config.Peers.Confirm(ctx, addr)
		m.metrics.lease.forwarded("confirm", err)
		return harmless(err)
	})
	if err == nil && index != 0 {
		err = m.await(ctx, index)
	}
	return index, err
}

// ServeConfirm is Peers.Confirm at the member that was asked.
func (m *Member) ServeConfirm(ctx context.Context) (uint64, error) {
	if _, err := m.confirmHere(ctx); err != nil {
		return 0, err
	}
	// A barrier's index would not do: the other member's state does not see it
	// pass. That of the last command does.
	return m.Applied(), nil
}

// confirmHere confirms that this member leads, and returns the term in which it
// does.
func (m *Member) confirmHere(ctx context.Context) (term uint64, err error) {
	if err := m.usable(ctx); err != nil {
		return 0, err
	}
	return m.reign.do(ctx)
}

// confirm is a round of reign.
func (m *Member) confirm(ctx context.Context) (term uint64, err error) {
	for {
		// Before a barrier of its own term has passed, a leader does not know
		// how far the group has committed (Raft thesis, 6.4).
		term = m.raft.CurrentTerm()
		switch {
		case !m.leads():
			err = m.confirmRaftError(raft.ErrNotLeader)
		case m.barrierTerm.Load() == term:
			err = m.verify(ctx, term)
		default:
			err = m.barrier(term)
		}
		if err != nil || m.raft.CurrentTerm() == term {
			return term, err
		}
	}
}

// verify makes sure that this member leads in a term in which a barrier has
// passed, and that all that was committed before is applied.
func (m *Member) verify(ctx context.Context, term uint64) error {
	commit, since := m.raft.CommitIndex(), m.answers.now()
	if err := m.raft.VerifyLeader().Error(); err != nil {
		return m.confirmRaftError(err)
	}
	// Raft has sent heartbeats for this, and goes on with them.
	err := m.whileLeading(ctx, term, func() (bool, <-chan struct{}) {
		servers := m.raft.GetConfiguration().Configuration().Servers
		return m.answers.majority(servers, raft.ServerID(m.me.Identity), term, since)
	})
	if err != nil {
		return err
	}
	// Every entry after a barrier is a command, a configuration or another
	// barrier; all of them raise the mark.
	return m.whileLeading(ctx, term, func() (bool, <-chan struct{}) {
		passed, raised := m.machine.passed.look()
		return passed >= commit, raised
	})
}

// whileLeading waits until there says yes, which is asked again when the
// channel that it returns is closed. It gives up when this member leads no more.
func (m *Member) whileLeading(ctx context.Context, term uint64, there func() (bool, <-chan struct{})) error {
	for {
		changed := m.leadership.wait()
		yes, forward := there()
		if err := m.Err(); yes || err != nil {
			return err
		}
		if !m.leads() || m.raft.CurrentTerm() != term {
			return &NotLeaderError{}
		}
		select {
		case <-forward:
		case <-changed:
		case <-m.closing:
			return ErrClosed
		case <-m.failed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// barrier puts an entry through raft: once it is committed, all before it is
// applied.
func (m *Member) barrier(term uint64) error {
	future := m.raft.Barrier(enqueueTimeout)
	if err := future.Error(); err != nil {
		return m.confirmRaftError(err)
	}
	m.machine.passed.raise(future.(raft.IndexFuture).Index())
	if m.raft.CurrentTerm() == term {
		m.barrierTerm.Store(term)
	}
	return m.Err()
}

// confirmRaftError sorts raft's errors for what may be asked again in any case.
func (m *Member) confirmRaftError(err error) error {
	if errors.Is(err, raft.ErrLeadershipLost) {
		return &NotLeaderError{}
	}
	return confirmError(m.raftError(err))
}

// CheckRaftIndex judges what a fragment's header says of its writer: the nonce
// of its boot, the incarnation, and the raft index that it had applied. More
// than the metadata has, after a confirmation, means that the metadata was
// rolled back: *RolledBackError, and the node must stop. where names the
// object.
//
// In a group that has no network, whatever another boot wrote was written
// before this one: its index lies within what raft's log held when this boot
// began. Without that, the entries of this boot's own start would hide that
// others are missing.
func (m *Member) CheckRaftIndex(ctx context.Context, where string, nonce fragment.Nonce, incarnation, index uint64) error {
	judge := func() error {
		have := m.Incarnation()
		most := m.Applied()
		if nonce != m.boot.nonce && !m.config.networked() {
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
