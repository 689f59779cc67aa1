package wal

import (
	"context"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/wal/api"
)

// attached makes sure that a log is attached to the chain that this node
// writes, and returns that chain.
func (s *Service) attached(ctx context.Context, l *log) (*chain, error) {
	l.mu.Lock()
	c := l.chain
	l.mu.Unlock()
	if c != nil && s.alive(c) {
		return c, nil
	}
	if err := l.gate.lock(ctx); err != nil {
		return nil, err
	}
	defer l.gate.unlock()
	return s.attachGated(ctx, l)
}

// attachGated is attached for who holds the gate. The first thing that goes
// into the chain is which log it is and where its producers stand.
func (s *Service) attachGated(ctx context.Context, l *log) (*chain, error) {
	for {
		c, err := s.current(ctx)
		if err != nil {
			return nil, err
		}
		if err := s.loadGated(ctx, l); err != nil {
			return nil, err
		}
		l.mu.Lock()
		if l.chain == c {
			l.mu.Unlock()
			return c, nil
		}
		first, empty, seen := l.durable, l.empty, l.seen
		l.mu.Unlock()
		m, err := s.meta(l.id)
		if err != nil {
			return nil, err
		}
		last, _ := m.Last()
		previous := last.Attachment
		switch {
		case last.Epoch == c.epoch:
			previous = last.Previous // it was applied, but we never heard
		case last.Attachment != seen: // the same, and that chain is over already
			l.mu.Lock()
			l.loaded = false
			l.mu.Unlock()
			continue
		}
		r, err := s.cfg.Meta.Propose(ctx, fsm.NewAttach(l.id, c.epoch, first, previous, empty))
		if err != nil {
			if !s.alive(c) && ctx.Err() == nil {
				continue // the chain ended meanwhile
			}
			return nil, fmt.Errorf("attach log %q to chain %d: %w", l.name, uint64(c.epoch), harmless(refusal(err)))
		}
		if err := l.enter(c, r); err == nil {
			return c, nil
		} else {
			s.over(c, err)
		}
	}
}

// enter begins a log's stay on a chain.
func (l *log) enter(c *chain, r fsm.Result) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := c.writer.Note(&fragment.Attached{
		Log: l.id, Attachment: r.Attachment, Name: l.name, EntryBytesMax: uint32(l.limits.EntryBytesMax),
		Generation: l.generation, First: l.durable, Trim: r.Log.First,
	}, fragment.LogState{
		Log: l.id, Attachment: r.Attachment, End: l.durable, Time: l.time,
		Dropped: l.producers.dropped, Producers: l.producers.states(),
	})
	if err != nil {
		l.loaded = false // load and attach again
		return err
	}
	l.chain, l.attachment, l.last = c, r.Attachment, n
	l.producers.given = 0
	return nil
}

// settled waits until all that was decided of a log so far is durable.
func (s *Service) settled(ctx context.Context, l *log) error {
	l.mu.Lock()
	c, n := l.chain, l.last
	l.mu.Unlock()
	return s.settledAt(ctx, c, n)
}

// settledAt waits until fragment n of a chain is durable, and all before it;
// nil is a chain whose seal is committed.
func (s *Service) settledAt(ctx context.Context, c *chain, n uint64) error {
	if c == nil {
		return nil
	}
	w := make(waiter, 1)
	done, err := c.writer.After(n, w)
	if done || err != nil {
		return err
	}
	select {
	case err := <-w:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: not durable yet: %w", api.ErrUnavailable, ctx.Err())
	}
}

// waiter is a segment.Waiter that somebody receives from.
type waiter chan error

func (w waiter) Settled(err error) { w <- err }
