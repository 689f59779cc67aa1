package wal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/api"
)

// attachPatience bounds the wait until a log is attached, in a call that has
// no earlier deadline: its caller may find another node that writes the log by
// then.
const attachPatience = 5 * time.Second

// attachTries is how often a log is looked at again without a pause: it may
// change hands while it is being attached.
const attachTries = 4

// attached makes sure that a log is attached to a chain that this node writes,
// and returns that chain. turn is what visit said when the call began. Errors:
// *api.ElsewhereError, *api.LimitError, api.ErrMoved, api.ErrUnavailable.
func (s *Service) attached(ctx context.Context, l *log, turn uint64) (*chain, error) {
	if c := l.home(); c != nil && c.alive() {
		return c, nil
	}
	if s.isClosed() {
		return nil, api.ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, attachPatience)
	defer cancel()
	if err := l.gate.lock(ctx); err != nil {
		return nil, err
	}
	defer l.gate.unlock()
	if err := l.back(turn); err != nil {
		return nil, err
	}
	return s.attachGated(ctx, l)
}

// attachGated is attached for who holds the gate.
func (s *Service) attachGated(ctx context.Context, l *log) (*chain, error) {
	for n := 0; ; n++ {
		if c := l.home(); c != nil && c.alive() {
			return c, nil
		}
		if err := s.Err(); err != nil {
			return nil, fmt.Errorf("%w: %w", api.ErrUnavailable, err)
		}
		if n > attachTries && !s.pause(n-attachTries) {
			return nil, api.ErrClosed
		}
		st, err := s.stand(l.id)
		switch {
		case err != nil:
			return nil, err
		case s.elsewhere(st) != nil:
			return nil, s.elsewhere(st)
		case st.mine != nil:
			err = s.adopt(ctx, l, st)
		case st.chain != nil:
			err = s.awaitSeal(ctx, st.chain.Epoch)
		case l.home() != nil: // its chain's seal is committed, and about to be taken in
			err = s.awaitBurial(ctx, l.home())
		default:
			err = s.attach(ctx, l, st)
		}
		if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("%w: attach log %q: %w", api.ErrUnavailable, l.name, err)
		}
	}
}

// awaitBurial waits until what waited for a chain of ours is answered.
func (s *Service) awaitBurial(ctx context.Context, c *chain) error {
	if c == nil {
		return nil // meanwhile
	}
	select {
	case <-c.buried:
		return nil
	case <-s.ctx.Done():
		return api.ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("%w: chain %d is being sealed: %w", api.ErrUnavailable, uint64(c.epoch), ctx.Err())
	}
}

// attach attaches a log that is attached nowhere to a chain of this node. nil
// without having done so: things have changed, and are to be looked at again.
func (s *Service) attach(ctx context.Context, l *log, st stand) error {
	if err := s.mayAttach(); err != nil {
		return err
	}
	c, err := s.berth(ctx, berthFor(st.log))
	if changed(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("attach log %q: %w", l.name, unlessOurs(err))
	}
	if held, err := s.leased(ctx, c); err != nil || !held {
		return err
	}
	if err := s.loadGated(ctx, l, st.log); err != nil {
		return err
	}
	l.mu.Lock()
	first, empty := l.assigned, l.empty
	l.mu.Unlock()
	r, err := s.cfg.Meta.Propose(ctx, fsm.NewAttach(l.id, c.epoch, first, st.last.Attachment, empty))
	switch {
	case err == nil:
		s.cfg.Logger.Debug("log attached", "log", l.name, "chain", c.epoch, "attachment", r.Attachment, "first", first)
		l.enter(c, r)
		return nil
	case typed[*fsm.ChainStateError](err):
		s.over(c, segment.ErrSealed)
		return nil
	case changed(err):
		return nil
	case !c.alive() && ctx.Err() == nil:
		return nil // it ended meanwhile
	}
	return fmt.Errorf("attach log %q to chain %d: %w", l.name, uint64(c.epoch), harmless(refusal(err)))
}

// mayAttach says why this node takes no logs now.
func (s *Service) mayAttach() error {
	if s.draining.Load() {
		return fmt.Errorf("%w: this node is being drained, and takes no logs", api.ErrUnavailable)
	}
	if err := s.cfg.Meta.MayAttach(); err != nil {
		return fmt.Errorf("%w: this node takes no logs: %w", api.ErrUnavailable, err)
	}
	return nil
}

// changed says that a command was refused because what it was decided on has
// changed.
func changed(err error) bool {
	return typed[*fsm.StaleError](err) || typed[*fsm.AttachedError](err) || typed[*fsm.ChainStateError](err) || typed[*fsm.DedicatedError](err)
}

// unlessOurs puts an error of the metadata into the words of the contract; one
// that is in them already stays.
func unlessOurs(err error) error {
	if typed[*api.LimitError](err) || errors.Is(err, api.ErrUnavailable) || errors.Is(err, api.ErrClosed) {
		return err
	}
	return harmless(refusal(err))
}

// adopt takes in that a log is attached to a chain of this node, which did not
// hear of it: the outcome of its proposal was lost. So nothing of the log is on
// the chain.
func (s *Service) adopt(ctx context.Context, l *log, st stand) error {
	before := *st.log
	before.Extents = before.Extents[:len(before.Extents)-1]
	if err := s.loadGated(ctx, l, &before); err != nil {
		return err
	}
	s.cfg.Logger.Debug("log was attached", "log", l.name, "chain", st.mine.epoch, "attachment", st.last.Attachment, "first", st.last.First)
	l.enter(st.mine, fsm.Result{Log: st.log, Attachment: st.last.Attachment})
	return nil
}

// enter begins a log's stay on a chain: the first thing that goes into it is
// which log it is and where its producers stand. If the chain is over already,
// its seal ends a stay that nothing came of.
func (l *log) enter(c *chain, r fsm.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Log.ConfigVersion >= l.version {
		l.version, l.limits = r.Log.ConfigVersion, limitsOf(r.Log.Config)
	}
	l.generation = r.Log.Generation
	n, err := c.writer.Note(&fragment.Attached{
		Log: l.id, Attachment: r.Attachment, Name: l.name, EntryBytesMax: uint32(l.limits.EntryBytesMax),
		Generation: l.generation, First: l.durable, Trim: r.Log.First,
	}, fragment.LogState{
		Log: l.id, Attachment: r.Attachment, End: l.durable, Time: l.time,
		Dropped: l.producers.dropped, Producers: l.producers.states(),
	})
	if err != nil {
		return // load and attach again
	}
	c.logs.Add(1)
	l.chain, l.attachment, l.last = c, r.Attachment, n
	l.producers.given = 0
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
