package wal

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/segment"
)

// over is told that a chain of ours ended under us: somebody seals it, or
// something foreign stands in its place. A sealed chain is followed by a new
// one; anything else stops this node's writing.
func (s *Service) over(c *chain, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !c.alive() {
		return
	}
	if !errors.Is(err, segment.ErrSealed) {
		s.failLocked(err)
		return
	}
	s.cfg.Logger.Warn("chain is being sealed by somebody else", "chain", c.epoch)
	s.leaveLocked(c)
	s.wg.Go(func() { s.bury(c) })
}

// retire ends a chain that nobody needs any more.
func (s *Service) retire(c *chain) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !c.alive() {
		return
	}
	s.leaveLocked(c)
	c.retired = true
	s.wg.Go(func() {
		if err := c.writer.Flush(s.ctx); err == nil {
			err = c.writer.CutNow(s.ctx)
			if err != nil {
				s.cfg.Logger.Warn("cut a chain at its end; its seal takes longer", "chain", c.epoch, "err", err)
			}
		}
		s.bury(c)
	})
}

// leaveLocked takes a chain out of its berth. The next one for all logs is
// opened at once, one for a single log when it is needed.
func (s *Service) leaveLocked(c *chain) {
	close(c.over)
	if b := s.berths[c.log]; b != nil && b.chain == c {
		delete(s.berths, c.log)
		if c.log == 0 {
			s.newBerthLocked(0)
		}
	}
}

// bury sees to the seal of a chain of ours that takes nothing any more, and
// when it is committed, answers what waited by it: what it counts is
// acknowledged, the rest is moved. Where nobody has begun to seal it, this node
// does; whom the metadata name for it, is left alone with it.
func (s *Service) bury(c *chain) {
	c.writer.Stop()
	m, ok := s.chainMeta(c.epoch)
	if ok && m.State == fsm.ChainOpen {
		s.mu.Lock()
		claimed := s.claimLocked(c.epoch)
		s.mu.Unlock()
		if claimed {
			s.sealClaimed(c.epoch) // here, for a service that is closing waits for this
		}
	}
	s.awaitEnd(c)
}

// awaitEnd is bury once somebody seals the chain.
func (s *Service) awaitEnd(c *chain) {
	if err := s.awaitSeal(s.ctx, c.epoch); err != nil {
		return // closing
	}
	if m, ok := s.chainMeta(c.epoch); ok {
		c.writer.SealedAt(m.Seal.At)
	}
	_ = c.writer.Close(s.ctx) // it is over already: only its goroutines are waited for
	s.mu.Lock()
	delete(s.chains, c.epoch) // from now on, it is read by its indexes
	logs := slices.Collect(maps.Values(s.logs))
	s.mu.Unlock()
	logs = slices.DeleteFunc(logs, func(l *log) bool { return !l.vacated(c) })
	close(c.buried)
	for _, l := range logs { // followers go on with what the seal counted
		l.wake()
	}
}

// chainMeta returns what the metadata say of a chain.
func (s *Service) chainMeta(e fragment.Epoch) (c *fsm.Chain, ok bool) {
	s.cfg.Meta.View(func(m *fsm.State) { c, ok = m.Chain(e) })
	return c, ok
}

// sealOwn seals a chain whose writer has stopped.
func (s *Service) sealOwn(ctx context.Context, c *chain) error {
	m, ok := s.chainMeta(c.epoch)
	if !ok || m.State == fsm.ChainSealed {
		return nil
	}
	return s.seal(ctx, m)
}
