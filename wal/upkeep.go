package wal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wpd-io/wpd/wal/api"
)

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
