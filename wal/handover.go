package wal

import (
	"context"
	"errors"
	"fmt"
	"time"

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
// see SetDraining. It ends when no log is left, or with the errors of those that
// are when ctx ends.
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
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("hand all logs over: %w", errors.Join(append(errs, err)...))
		}
	}
}

// rehousePause is after how long a log that could not be brought to the chain
// that it is to be on is brought there again.
const rehousePause = 10 * time.Second

// rehouse brings a log to the chain that its configuration asks for: one of its
// own, or the one for all. Appends wait a moment, and nothing fails.
func (s *Service) rehouse(l *log) {
	s.upkeep(l, "bring a log to the chain that it is configured to be on; it stays where it is for now", s.move)
}

// rest gives back the chain of a log that was not used for long.
func (s *Service) rest(l *log, c *chain) {
	unused := l.latest()
	s.upkeep(l, "give back a chain that is not used", func(ctx context.Context, l *log) error {
		return s.giveBack(ctx, l, c, unused)
	})
}

// upkeep does something about a log behind the calls, not too often.
func (s *Service) upkeep(l *log, what string, f func(context.Context, *log) error) {
	if !l.due() {
		return
	}
	s.spawn(func() {
		ctx, cancel := context.WithTimeout(s.ctx, rehousePause)
		defer cancel()
		if err := f(ctx, l); err != nil && s.ctx.Err() == nil && !errors.Is(err, api.ErrNotFound) {
			s.cfg.Logger.Warn(what, "log", l.name, "err", err)
		}
	})
}

// due says whether rehousePause has passed since it last said so.
func (l *log) due() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Before(l.tended.Add(rehousePause)) {
		return false
	}
	l.tended = now
	return true
}

// move is one try of rehouse.
func (s *Service) move(ctx context.Context, l *log) error {
	if err := l.gate.lock(ctx); err != nil {
		return err
	}
	c, next, err := s.nextHome(ctx, l)
	if next == nil || err != nil {
		l.gate.unlock()
		return err
	}
	_, err = afterShut(ctx, s, l, fmt.Sprintf("move log %q to chain %d", l.name, uint64(next.epoch)), func() (none struct{}, err error) {
		if err = s.detach(l, c); err == nil {
			_, err = s.attachGated(ctx, l)
		}
		return none, err
	})
	return err
}

// nextHome returns the chain that a log is on, and the one that it is to be on
// instead; nil if it is to stay. The gate is held.
func (s *Service) nextHome(ctx context.Context, l *log) (c, next *chain, err error) {
	m, err := s.meta(l.id)
	if err != nil {
		return nil, nil, err
	}
	if c = l.home(); c == nil || !c.alive() || c.log == berthFor(m) {
		return c, nil, nil
	}
	if next, err = s.berth(ctx, berthFor(m)); changed(err) {
		return c, nil, nil
	}
	return c, next, err
}

// giveBack is one try of rest.
func (s *Service) giveBack(ctx context.Context, l *log, c *chain, unused uint64) error {
	if err := l.gate.lock(ctx); err != nil {
		return err
	}
	if l.home() != c || l.latest() != unused {
		l.gate.unlock()
		return nil
	}
	_, err := afterShut(ctx, s, l, fmt.Sprintf("give the chain of log %q back", l.name), func() (none struct{}, err error) {
		if l.latest() != unused {
			return none, nil // used after all
		}
		return none, s.detach(l, c)
	})
	return err
}
