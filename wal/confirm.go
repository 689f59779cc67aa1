package wal

import (
	"context"
	"fmt"

	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/api"
)

// What a client is told beyond an acknowledgement rests on this node being the
// one that writes the log, and only the metadata can tell that, asked after the
// client has asked. Acknowledgements need nobody's word: what is durable in a
// chain is part of it for ever.

// confirm makes View show all that was committed before the call.
func (s *Service) confirm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, attachPatience)
	defer cancel()
	if err := s.cfg.Meta.Confirm(ctx); err != nil {
		return fmt.Errorf("%w: ask the metadata who writes the log: %w", api.ErrUnavailable, err)
	}
	return nil
}

// confirmed makes sure that, at some moment after the call, a chain of ours was
// open, and takes in what the metadata said of the log then. False: the chain
// is over.
func (s *Service) confirmed(ctx context.Context, l *log, c *chain) (bool, error) {
	if err := s.confirm(ctx); err != nil {
		return false, err
	}
	var log *fsm.Log
	open := false
	s.cfg.Meta.View(func(m *fsm.State) {
		log, _ = m.Log(l.id)
		x, ok := m.Chain(c.epoch)
		open = ok && x.State == fsm.ChainOpen
	})
	s.heed(l, log)
	if !open {
		s.over(c, segment.ErrSealed)
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, attachPatience)
	defer cancel()
	return s.leased(ctx, c)
}

// mine attaches a log here, if nobody else writes it, and makes sure that, at
// some moment after the call, it was attached to the chain that is returned.
// Errors: those of attached.
func (s *Service) mine(ctx context.Context, l *log, turn uint64) (*chain, error) {
	for {
		c, err := s.attached(ctx, l, turn)
		if err != nil {
			return nil, err
		}
		if sure, err := s.confirmed(ctx, l, c); sure || err != nil {
			return c, err
		}
	}
}

// current makes what is known here of a log as new as the call, if this node
// writes it, or nobody does. Errors: *api.ElsewhereError.
func (s *Service) current(ctx context.Context, l *log) error {
	if err := s.confirm(ctx); err != nil {
		return err
	}
	for n := 0; ; n++ {
		if n > attachTries && !s.pause(n-attachTries) {
			return api.ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: log %q is changing hands: %w", api.ErrUnavailable, l.name, err)
		}
		st, err := s.stand(l.id)
		switch {
		case err != nil:
			return err
		case s.elsewhere(st) != nil && l.home() != nil:
			err = s.awaitLeave(ctx, l)
		case s.elsewhere(st) != nil:
			return s.elsewhere(st)
		case st.mine != nil && l.home() == st.mine:
			return nil
		case st.chain != nil && s.Err() != nil && l.home() != nil && l.home().epoch == st.chain.Epoch:
			return nil // a node that failed acknowledges nothing more
		case st.mine != nil:
			_, err = s.attached(ctx, l, l.visit())
		case st.chain != nil:
			err = s.awaitSeal(ctx, st.chain.Epoch)
		case l.home() != nil:
			err = s.awaitLeave(ctx, l)
		default:
			var done bool
			if done, err = s.loadFree(ctx, l, st); done {
				return nil
			}
		}
		if err != nil {
			return err
		}
	}
}

// awaitLeave waits until this node has taken in that a log is not on its chain
// any more, as the metadata say: it was detached, or the chain is sealed.
func (s *Service) awaitLeave(ctx context.Context, l *log) error {
	if c := l.home(); c != nil && !c.alive() {
		return s.awaitBurial(ctx, c)
	}
	if err := l.gate.lock(ctx); err != nil {
		return err
	}
	l.gate.unlock()
	return nil
}
