package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wpd-io/wpd/fsm"
)

var (
	// ErrUnreachable means that a member could not be reached, and that
	// nothing was done: the call was not even sent.
	ErrUnreachable = errors.New("the member can't be reached")

	// ErrRefused is matched by *RefusedError.
	ErrRefused = errors.New("the leader refuses")
)

// RefusedError means that the leader will not do what it was asked for, and
// that nothing was done. It is an ErrRefused.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return ErrRefused.Error() + ": " + e.Reason }

func (e *RefusedError) Unwrap() error { return ErrRefused }

const (
	// forwardTimeout bounds one call to a leader. It leaves that one the time
	// to say that it is busy.
	forwardTimeout = enqueueTimeout + 2*time.Second
	// forwardGrace is how long a call to a leader may go on once another one
	// leads, or none: an answer that is on its way is worth more than none.
	forwardGrace = time.Second

	retryMin = 20 * time.Millisecond
	retryMax = 500 * time.Millisecond
)

// retrying calls f until it has an answer. Where nothing was done because of
// who leads, or how busy that one is, it calls again: when the leader changes,
// or a while later. Its error when ctx ends then says so.
func (m *Member) retrying(ctx context.Context, f func() error) error {
	for wait := retryMin; ; wait = min(2*wait, retryMax) {
		if err := m.usable(ctx); err != nil {
			return err
		}
		_, changed := m.leader()
		err := f()
		if !m.mayRetry(err) {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-m.closing:
		case <-m.failed:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
		timer.Stop()
	}
}

func (m *Member) mayRetry(err error) bool {
	if errors.Is(err, ErrNotLeader) {
		return true
	}
	// Alone, there is nobody who could do better.
	return m.config.networked() && !errors.Is(err, ErrUncertain) &&
		(errors.Is(err, ErrBusy) || errors.Is(err, ErrClosed) || errors.Is(err, ErrUnreachable))
}

// atLeader does something once where the group is led from: here, or there, at
// the gRPC address of another member.
func (m *Member) atLeader(ctx context.Context, here func() error, there func(ctx context.Context, addr string) error) error {
	identity, changed := m.leader()
	if identity == m.me.Identity {
		return here()
	}
	addr := m.addressOf(identity)
	if addr == "" || m.config.Peers == nil {
		return &NotLeaderError{Leader: identity}
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	var watching sync.WaitGroup
	watching.Go(func() {
		defer cancel()
		m.awaitChange(ctx, changed)
	})
	err := there(ctx, addr)
	cancel()
	watching.Wait()
	return err
}

// awaitChange returns when a call to the leader had better end.
func (m *Member) awaitChange(ctx context.Context, changed <-chan struct{}) {
	select {
	case <-ctx.Done():
		return
	case <-m.closing:
		return
	case <-m.failed:
		return
	case <-changed:
	}
	grace := time.NewTimer(forwardGrace)
	defer grace.Stop()
	select {
	case <-ctx.Done():
	case <-m.closing:
	case <-m.failed:
	case <-grace.C:
	}
}

// addressOf returns where a member serves gRPC, empty if that is not known.
// Before the metadata knows it, gossip may.
func (m *Member) addressOf(identity string) (addr string) {
	if identity == "" {
		return ""
	}
	m.View(func(s *fsm.State) {
		if n, ok := s.Node(identity); ok {
			addr = n.GRPC
		}
	})
	if addr == "" && m.gossiped != nil {
		addr = m.gossiped(identity)
	}
	return addr
}

// unsure sorts the error of a call that does something at another member: what
// is not known to have done nothing may have done it.
func unsure(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrUncertain):
		return err
	case errors.Is(err, ErrNotLeader), errors.Is(err, ErrBusy), errors.Is(err, ErrClosed),
		errors.Is(err, ErrUnreachable), errors.Is(err, ErrRefused):
		return err
	}
	return &UncertainError{Err: err}
}

// harmless sorts the error of a call that asks another member without doing
// anything: it may be asked again.
func harmless(err error) error {
	if err == nil || errors.Is(err, ErrNotLeader) || errors.Is(err, ErrRefused) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}
