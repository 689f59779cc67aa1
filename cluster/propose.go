package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// enqueueTimeout bounds the wait until raft takes a proposal. Only a disk that
// hangs makes it wait.
const enqueueTimeout = 10 * time.Second

// Propose runs a command, made by one of fsm's constructors, and returns its
// result once it is committed, durable and applied here. It works at every
// member: one that does not lead hands the command to the leader, and waits for
// a leader as long as ctx lasts. With an error the Result is zero, and the
// error tells what happened:
//
//   - a refusal of the fsm, as it is (*fsm.StaleError, fsm.ErrNotFound, …):
//     the command has changed nothing and never will;
//   - ErrNotLeader, ErrBusy, ErrUnreachable, ErrRefused, ErrClosed, ErrFailed,
//     or that ctx was over before: nothing was done;
//   - ErrUncertain: it may have been applied, or may yet be. Also when ctx
//     ends while it is under way.
func (m *Member) Propose(ctx context.Context, c *fsmpb.Command) (fsm.Result, error) {
	begin := time.Now()
	r, err := m.propose(ctx, c)
	m.metrics.proposed(begin, err)
	return r, err
}

func (m *Member) propose(ctx context.Context, c *fsmpb.Command) (fsm.Result, error) {
	if err := m.usable(ctx); err != nil {
		return fsm.Result{}, err
	}
	command, err := fsm.Encode(c)
	if err != nil {
		return fsm.Result{}, err
	}
	var r fsm.Result
	err = m.retrying(ctx, func() error {
		var index uint64
		err := m.atLeader(ctx, func() (err error) {
			_, r, err = m.commit(ctx, command)
			return err
		}, func(ctx context.Context, addr string) (err error) {
			index, err = m.config.Peers.Propose(ctx, addr, command)
			m.metrics.lease.forwarded("propose", err)
			return unsure(err)
		})
		if err == nil && index != 0 {
			r, err = m.learn(ctx, index)
		}
		return err
	})
	if err != nil {
		return fsm.Result{}, err
	}
	return r, nil
}

// commit puts a command through raft here, and returns where in the raft log it
// was applied, and what became of it. It needs this member to lead.
func (m *Member) commit(ctx context.Context, command []byte) (uint64, fsm.Result, error) {
	type outcome struct {
		index  uint64
		result fsm.Result
	}
	// The goroutine may outlive this call, so it shares nothing with it but
	// the channel.
	outcomes := make(chan outcome, 1)
	err := m.run(ctx, func() error {
		future := m.raft.Apply(sealed(command), enqueueTimeout)
		if err := future.Error(); err != nil {
			return m.raftError(err)
		}
		m.nudge()
		r := future.Response().(response)
		outcomes <- outcome{future.Index(), r.result}
		return r.judge()
	})
	var o outcome
	select {
	case o = <-outcomes:
	default:
	}
	return o.index, o.result, err
}

// judge returns the error of the proposal that a response answers.
func (r response) judge() error {
	if r.err != nil {
		// Committed, but not applied: a version that knows it may yet do so.
		return &UncertainError{Err: r.err}
	}
	return r.result.Err
}

// learn waits until the command that the leader applied at an index is applied
// here too, and returns what became of it.
func (m *Member) learn(ctx context.Context, index uint64) (fsm.Result, error) {
	if err := m.await(ctx, index); err != nil {
		return fsm.Result{}, &UncertainError{Err: err}
	}
	r, ok := m.machine.resultAt(index)
	if !ok {
		return fsm.Result{}, &UncertainError{Err: errPassed}
	}
	return r.result, r.judge()
}

// errPassed is why a result is not known though the command was applied.
var errPassed = errors.New("this member's state went past the command at once")

// await returns once everything up to a raft index is applied here.
func (m *Member) await(ctx context.Context, index uint64) error {
	for {
		passed, raised := m.machine.passed.look()
		if passed >= index {
			return nil
		}
		select {
		case <-raised:
		case <-m.closing:
			return ErrClosed
		case <-m.failed:
			return m.Err()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Changed returns a channel that is closed when the next commands have been
// applied here.
func (m *Member) Changed() <-chan struct{} {
	_, raised := m.machine.passed.look()
	return raised
}

// raftError sorts raft's errors into "nothing was done" and "unknown".
func (m *Member) raftError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		_, leader := m.raft.LeaderWithID()
		return &NotLeaderError{Leader: string(leader)}
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return ErrBusy
	}
	return &UncertainError{Err: err}
}

// ServePropose is Peers.Propose at the member that was asked. A command that is
// too large, or that this version does not know, does not get as far as raft.
func (m *Member) ServePropose(ctx context.Context, command []byte) (index uint64, err error) {
	if err := m.usable(ctx); err != nil {
		return 0, err
	}
	if _, err := fsm.Decode(command); err != nil {
		return 0, &RefusedError{Reason: "the command can't be read: " + err.Error()}
	}
	index, _, err = m.commit(ctx, command)
	if index != 0 {
		return index, nil // the asking member sees what became of it there
	}
	return 0, err
}

// Grant asks for a new chain for this boot of this node, with at most window
// fragments in flight, and returns its epoch. Only log, which must be configured
// so, may be attached to the chain; 0: any may. After an ErrUncertain ask again:
// an epoch that was granted in vain is sealed like any other.
func (m *Member) Grant(ctx context.Context, window uint32, log fragment.LogID) (fragment.Epoch, error) {
	proposed := m.keeper.clock.now()
	r, err := m.Propose(ctx, fsm.NewGrantChain(m.me.Identity, m.boot.Number, window, fsm.KindObjects, log))
	if err != nil {
		return 0, err
	}
	m.keeper.granted(r.Epoch, proposed)
	return r.Epoch, nil
}
