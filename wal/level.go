package wal

import (
	"context"
	"fmt"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// Tail implements api.Service.
func (s *Service) Tail(ctx context.Context, id fragment.LogID, level api.Level) (fragment.LSN, error) {
	tail, _, err := s.TailAge(ctx, id, level)
	return tail, err
}

// TailAge is Tail, and how long ago, at most, that was the tail; math.MaxInt64
// if that is not known.
func (s *Service) TailAge(ctx context.Context, id fragment.LogID, level api.Level) (tail fragment.LSN, age time.Duration, err error) {
	l, err := s.log(ctx, id)
	if err != nil {
		return 0, 0, err
	}
	if err := s.level(ctx, l, level); err != nil {
		return 0, 0, err
	}
	age = s.age(l) // before the tail, which may only be newer
	m, err := s.meta(id)
	if err != nil {
		return 0, 0, err
	}
	return l.tailBy(m), age, nil
}

// Limits is what batches of a log are held to, as far as this node has heard.
// It asks nobody. Errors:
// ErrDeleted, ErrNotFound, ErrClosed.
func (s *Service) Limits(id fragment.LogID) (fragment.Limits, error) {
	if _, err := s.logHere(id); err != nil {
		return fragment.Limits{}, err
	}
	m, err := s.meta(id)
	if err != nil {
		return fragment.Limits{}, err
	}
	return limitsOf(m.Config), nil
}

// level waits until a read of the log is as fresh as is asked.
func (s *Service) level(ctx context.Context, l *log, level api.Level) error {
	know := s.load
	if level.Linearizable {
		know = s.newest
	}
	if err := know(ctx, l); err != nil {
		return err
	}
	if level.AtLeast != 0 {
		err := s.awaitTail(ctx, l, 0, func(durable fragment.LSN) bool { return durable > level.AtLeast })
		if err != nil && ctx.Err() != nil {
			tail, _ := l.tail()
			return &api.BeyondTailError{LSN: level.AtLeast, Tail: tail}
		}
		if err != nil {
			return err
		}
	}
	return s.fresh(ctx, l, level.MaxLag)
}

// awaitTail waits until enough of a log is known to be durable, wherever it is
// written meanwhile. What is known must not get older than most; 0: it may.
// Errors: the context's; ErrDeleted, ErrClosed, *api.LagError.
func (s *Service) awaitTail(ctx context.Context, l *log, most time.Duration, enough func(durable fragment.LSN) bool) error {
	for n := 0; ; n++ {
		l.mu.Lock()
		durable, deleted, moved := l.durable, l.deleted, l.moved
		l.mu.Unlock()
		switch {
		case s.isClosed():
			return api.ErrClosed
		case deleted:
			return fmt.Errorf("log %d: %w", l.id, api.ErrDeleted)
		case enough(durable):
			return nil
		}
		err := s.load(ctx, l)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			n = 0
		case !is(api.ErrUnavailable)(err) && !is(api.ErrMoved)(err):
			return err
		}
		if tail, err := l.tail(); err == nil && enough(tail) {
			return nil
		}
		if err := s.fresh(ctx, l, most); err != nil {
			return err
		}
		if err := s.awaitMove(ctx, l, moved, s.patience(l, err, n, most)); err != nil {
			return err
		}
	}
}

// patience is after how long a log is looked at again whose tail does not move;
// 0: for ever.
func (s *Service) patience(l *log, err error, n int, most time.Duration) time.Duration {
	switch {
	case err != nil:
		return backoff(n, followPauseMax)
	case most > 0:
		return max(most-s.age(l), time.Millisecond)
	}
	return 0
}

// awaitMove waits until a log's tail may have moved, or some time has passed.
func (s *Service) awaitMove(ctx context.Context, l *log, moved <-chan struct{}, patience time.Duration) error {
	if f := l.following(); f != nil {
		f.enter()
		defer f.leave()
	}
	var again <-chan time.Time
	if patience > 0 {
		t := time.NewTimer(patience)
		defer t.Stop()
		again = t.C
	}
	select {
	case <-moved:
	case <-again:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
