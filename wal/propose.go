package wal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
	"github.com/wpd-io/wpd/wal/api"
)

// proposeTimeout bounds one try of a proposal whose outcome must be known.
const proposeTimeout = 10 * time.Second

// proposeUntilKnown proposes a command until it is known what came of it: a try
// that was not answered may still be applied, as long as no later one was
// applied or refused. The command must be one that takes effect once, however
// often it is applied. The error is a refusal of the metadata; or nothing was
// done; or the service is closing.
func (s *Service) proposeUntilKnown(c *fsmpb.Command) (fsm.Result, error) {
	unsure := false
	for n := 0; ; n++ {
		ctx, cancel := context.WithTimeout(s.ctx, proposeTimeout)
		r, err := s.cfg.Meta.Propose(ctx, c)
		late := ctx.Err() != nil
		cancel()
		switch {
		case err == nil, refused(err):
			return r, err
		case s.ctx.Err() != nil:
			return r, api.ErrClosed
		case !unsure && !late && !isUncertain(err):
			return r, err
		}
		unsure = true
		s.cfg.Logger.Warn("the outcome of a change of the metadata is not known yet", "try", n+1, "err", err)
		if !s.pause(n) {
			return r, api.ErrClosed
		}
	}
}

// refused says that the metadata have refused a command, for good.
func refused(err error) bool {
	return typed[*fsm.StaleError](err) || typed[*fsm.ChainStateError](err) || typed[*fsm.RangeError](err) ||
		typed[*fsm.InvalidError](err) || errors.Is(err, fsm.ErrNotFound)
}

// isUncertain says that a command may have been applied, or may still be.
func isUncertain(err error) bool {
	u, ok := errors.AsType[interface {
		error
		Uncertain() bool
	}](err)
	return ok && u.Uncertain()
}

// afterShut shuts a log, waits until all that was decided of it is durable, and
// has f done then, however long it takes: only then is the log opened, and its
// gate, which the caller holds, given back. The caller waits no longer than its
// ctx.
func afterShut[T any](ctx context.Context, s *Service, l *log, what string, f func() (T, error)) (T, error) {
	var none T
	l.close()
	back := func() {
		l.open()
		l.gate.unlock()
	}
	if err := s.flushed(ctx, l); err != nil {
		back()
		return none, fmt.Errorf("%w: %s: %w", api.ErrUnavailable, what, err)
	}
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	if !s.spawn(func() {
		v, err := f()
		back()
		done <- result{v, err}
	}) {
		back()
		return none, api.ErrClosed
	}
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		return none, fmt.Errorf("%w: %s: nobody knows yet whether it was done: %w", api.ErrUnavailable, what, ctx.Err())
	}
}

// flushed is settled, without waiting for the flush interval.
func (s *Service) flushed(ctx context.Context, l *log) error {
	if c := l.home(); c != nil && s.cfg.FlushInterval > 0 {
		return c.writer.Flush(ctx)
	}
	return s.settled(ctx, l)
}
