package wal

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/api"
)

// Release hands a log over to whoever is asked for it next: what was taken of
// it becomes durable and is acknowledged, and the log is detached from the
// chain of this node. Appends and opens of producers that wait meanwhile are
// answered api.ErrMoved. A crash of this node on the way is an ordinary
// take-over. nil if this node does not write the log (any more). Errors:
// ErrDeleted, ErrNotFound; and ErrUnavailable: it is not done, or, if ctx ended,
// perhaps not yet.
func (s *Service) Release(ctx context.Context, id fragment.LogID) error {
	l, err := s.log(ctx, id)
	if err != nil {
		return err
	}
	if err := l.gate.lock(ctx); err != nil {
		return err
	}
	c, err := s.held(ctx, l)
	if c == nil || err != nil {
		l.gate.unlock()
		return err
	}
	_, err = afterShut(ctx, s, l, fmt.Sprintf("hand log %q over", l.name), func() (none struct{}, err error) {
		if err = s.detach(l, c); err == nil {
			l.mu.Lock()
			l.turn++ // before the gate is given back: who waits must not bring it back
			l.mu.Unlock()
		}
		return none, err
	})
	if !c.alive() && l.home() != nil {
		return s.awaitSeal(ctx, c.epoch) // then it is free, too
	}
	return err
}

// held returns the chain of this node that a log is attached to; nil if it is
// on none. One that is being sealed is waited for. The gate is held.
func (s *Service) held(ctx context.Context, l *log) (*chain, error) {
	for {
		st, err := s.stand(l.id)
		switch c := l.home(); {
		case err != nil:
			return nil, err
		case st.mine != nil && c == st.mine:
			return c, nil
		case st.mine != nil:
			err = s.adopt(ctx, l, st)
		case st.chain != nil && st.chain.Node == s.cfg.Identity.Node:
			err = s.awaitSeal(ctx, st.chain.Epoch)
		default:
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// detach ends the stay of a log on a chain of ours, with all of it durable. The
// gate is held, and the log shut. nil only if the log is detached.
func (s *Service) detach(l *log, c *chain) error {
	l.mu.Lock()
	attachment, end := l.attachment, l.assigned
	l.mu.Unlock()
	_, err := s.proposeUntilKnown(fsm.NewDetach(l.id, attachment, end))
	switch {
	case err == nil, typed[*fsm.StaleError](err): // somebody attached it since: an earlier try had detached it
		s.cfg.Logger.Debug("log detached", "log", l.name, "chain", c.epoch, "attachment", attachment, "end", end)
		l.detached()
		if c.log != 0 {
			s.retire(c)
		}
		return nil
	case typed[*fsm.ChainStateError](err):
		s.over(c, segment.ErrSealed) // its seal ends the stay
		return fmt.Errorf("%w: detach log %q: %w", api.ErrUnavailable, l.name, err)
	case errors.Is(err, fsm.ErrNotFound):
		s.forget(l)
	}
	return fmt.Errorf("detach log %q: %w", l.name, harmless(refusal(err)))
}

// SetDraining says whether this node is to take no logs. Those that it has
// stay.
func (s *Service) SetDraining(draining bool) { s.draining.Store(draining) }

// ReleaseAll hands all logs over, so many at a time, and takes none any more:
// see SetDraining. It ends when no log is left, or, when ctx ends, with the
// number of those that are, and what went wrong with one of them.
func (s *Service) ReleaseAll(ctx context.Context, parallel int) error {
	s.SetDraining(true)
	for n := 0; ; n++ {
		logs := s.attachedLogs()
		if len(logs) == 0 {
			return nil
		}
		if n > 0 && !s.pause(n) {
			return api.ErrClosed
		}
		errs := make([]error, len(logs))
		var g errgroup.Group
		g.SetLimit(max(parallel, 1))
		for i, l := range logs {
			g.Go(func() error {
				if err := s.Release(ctx, l.id); err != nil && !errors.Is(err, api.ErrNotFound) {
					errs[i] = err
				}
				return nil
			})
		}
		_ = g.Wait() // what went wrong is in errs
		if ctx.Err() == nil {
			continue
		}
		errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
		if len(errs) == 0 {
			return fmt.Errorf("hand all logs over: %w", ctx.Err())
		}
		return fmt.Errorf("hand all logs over: %d are left, the first: %w: %w", len(errs), errs[0], ctx.Err())
	}
}
