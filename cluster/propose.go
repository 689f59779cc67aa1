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
// result once it is committed, durable and applied here. With an error the
// Result is zero, and the error tells what happened:
//
//   - a refusal of the fsm, as it is (*fsm.StaleError, fsm.ErrNotFound, …):
//     the command has changed nothing and never will;
//   - ErrNotLeader, ErrBusy, ErrClosed, ErrFailed, or that ctx was over
//     before: nothing was done;
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
	data, err := envelope(c)
	if err != nil {
		return fsm.Result{}, err
	}
	// The goroutine may outlive this call, so it shares nothing with it but
	// the channel.
	results := make(chan fsm.Result, 1)
	if _, err := m.run(ctx, func() error {
		r, err := m.commit(data)
		results <- r
		return err
	}); err != nil {
		return fsm.Result{}, err
	}
	return <-results, nil
}

// commit puts a command through raft.
func (m *Member) commit(data []byte) (fsm.Result, error) {
	future := m.raft.Apply(data, enqueueTimeout)
	if err := future.Error(); err != nil {
		return fsm.Result{}, m.raftError(err)
	}
	r := future.Response().(response)
	switch {
	case r.err != nil:
		// Committed, but not applied: a version that knows it may yet do so.
		return fsm.Result{}, &UncertainError{Err: r.err}
	case r.result.Err != nil:
		return fsm.Result{}, r.result.Err
	}
	return r.result, nil
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

// Grant asks for a new chain for this boot of this node, with at most window
// fragments in flight, and returns its epoch. After an ErrUncertain ask again:
// an epoch that was granted in vain is sealed like any other.
func (m *Member) Grant(ctx context.Context, window uint32) (fragment.Epoch, error) {
	r, err := m.Propose(ctx, fsm.NewGrantChain(m.me.Identity, m.boot.Number, window, fsm.KindObjects))
	return r.Epoch, err
}
