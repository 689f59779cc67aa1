package wal

import (
	"context"
	"errors"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/wal/api"
)

// Delete implements api.Service. Whoever writes the log does it, so that no
// append that comes later is acknowledged; if nobody does, any node.
func (s *Service) Delete(ctx context.Context, id fragment.LogID) error {
	l, err := s.log(ctx, id)
	if err != nil {
		return err
	}
	if err := l.gate.lock(ctx); err != nil {
		return err
	}
	defer l.gate.unlock()
	st, err := s.stand(id)
	switch {
	case err != nil: // and this node has not taken it in
		s.forget(l)
		return err
	case s.elsewhere(st) != nil:
		return s.elsewhere(st)
	case st.mine == nil && st.chain != nil && s.Err() == nil: // a node that failed acknowledges nothing more
		if err := s.awaitSeal(ctx, st.chain.Epoch); err != nil {
			return err
		}
	}
	was, err := s.proposeDelete(ctx, st)
	if err == nil || errors.Is(err, api.ErrNotFound) {
		s.forget(l)
	}
	if err != nil {
		return err
	}
	return s.deletedFrom(ctx, l, was)
}

// proposeDelete deletes a log, and returns what it was then.
func (s *Service) proposeDelete(ctx context.Context, st stand) (*fsm.Log, error) {
	r, err := s.cfg.Meta.Propose(ctx, fsm.NewDeleteLog(st.log.ID))
	if err = refusal(err); err == nil || errors.Is(err, api.ErrNotFound) {
		return r.Log, err
	}
	if !errors.Is(err, api.ErrUncertain) {
		return nil, err
	}
	// Deleted or not?
	known, cancel := context.WithTimeout(context.WithoutCancel(ctx), proposeTimeout)
	defer cancel()
	r, again := s.cfg.Meta.Propose(known, fsm.NewDeleteLog(st.log.ID))
	switch again = refusal(again); {
	case again == nil:
		return r.Log, nil
	case !errors.Is(again, api.ErrNotFound):
		return nil, err
	}
	// By the first try, then; but what the log was, it did not say. If its
	// chain is open, nobody else can have attached it meanwhile.
	if st.mine == nil || !st.mine.alive() {
		return nil, fmt.Errorf("%w: log %q is deleted, but perhaps its writer has not heard of it: %w", api.ErrUnavailable, st.log.Name, err)
	}
	if c, ok := s.chainMeta(st.mine.epoch); !ok || c.State != fsm.ChainOpen {
		return nil, fmt.Errorf("%w: log %q is deleted, but perhaps its writer has not heard of it: %w", api.ErrUnavailable, st.log.Name, err)
	}
	return st.log, nil
}

// deletedFrom makes sure that nobody acknowledges anything more to a log that
// was deleted. m is what it was then. Only the node that wrote it could; if that
// was another, which attached it meanwhile, the caller is sent there.
func (s *Service) deletedFrom(ctx context.Context, l *log, m *fsm.Log) error {
	for {
		var c *fsm.Chain
		var node *fsm.Node
		s.cfg.Meta.View(func(st *fsm.State) {
			var ok bool
			if _, c, ok = st.Attached(m); ok {
				node, _ = st.Node(c.Node)
			}
		})
		switch err := s.elsewhere(stand{chain: c, node: node}); {
		case err != nil:
			return err
		case c == nil, c.State == fsm.ChainOpen: // ours: it was forgotten before
			return nil
		}
		if err := s.awaitSeal(ctx, c.Epoch); err != nil {
			return fmt.Errorf("%w: log %q is deleted, but its chain is being sealed: %w", api.ErrUnavailable, l.name, err)
		}
	}
}

// forget takes a deleted log out of this node.
func (s *Service) forget(l *log) {
	s.mu.Lock()
	delete(s.logs, l.id)
	s.mu.Unlock()
	l.mu.Lock()
	c := l.chain
	l.deleted, l.chain = true, nil
	l.wakeLocked()
	l.mu.Unlock()
	if c == nil {
		return
	}
	c.logs.Add(-1)
	if c.log != 0 {
		s.retire(c)
	}
}
