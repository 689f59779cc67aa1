package wal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/api"
)

// watchShare is how many times as long as a look at the metadata the pause behind
// it is, where it is a look at every log: it takes at most a tenth of a processor.
const watchShare = 10

// onChange looks at the metadata, and again when they change, or tick does; not
// before a pause has passed, at least so long, and share times as long as the look
// took. It ends with the service.
func (s *Service) onChange(tick <-chan time.Time, least time.Duration, share int, look func()) {
	for {
		changed := s.cfg.Meta.Changed()
		begin := time.Now()
		look()
		if !pause(s.ctx, max(least, time.Duration(share)*time.Since(begin))) {
			return
		}
		select {
		case <-changed:
		case <-tick:
		case <-s.ctx.Done():
			return
		}
	}
}

// watchChains does what the metadata ask for concerning chains, as soon as they
// do.
func (s *Service) watchChains() { s.onChange(nil, 0, 0, s.lookAtChains) }

// lookAtChains finds what this node has to seal, which of its chains are being
// sealed, and which seals that somebody waits for are committed.
func (s *Service) lookAtChains() {
	me := s.cfg.Identity.Node
	s.mu.RLock()
	mine := slices.Collect(maps.Values(s.chains))
	s.mu.RUnlock()
	var orphans, toSeal []fragment.Epoch
	var ending []*chain
	unsealed := make(map[fragment.Epoch]bool)
	s.cfg.Meta.View(func(m *fsm.State) {
		for c := range m.Unsealed() {
			unsealed[c.Epoch] = true
			switch {
			case c.State == fsm.ChainSealing && c.Sealer == me:
				toSeal = append(toSeal, c.Epoch)
			case c.State == fsm.ChainOpen && c.Node == me:
				orphans = append(orphans, c.Epoch)
			}
		}
		for _, c := range mine {
			if x, ok := m.Chain(c.epoch); ok && x.State != fsm.ChainOpen {
				ending = append(ending, c)
			}
		}
	})
	s.mu.Lock()
	for e, done := range s.awaited {
		if !unsealed[e] {
			close(done)
			delete(s.awaited, e)
		}
	}
	// A chain that was granted, and that nobody here has heard of. Whoever
	// asks for one says so before, and makes it known before he says no more.
	quiet := s.granting.Load() == 0
	for _, e := range orphans {
		if quiet && s.chains[e] == nil {
			toSeal = append(toSeal, e)
		}
	}
	s.mu.Unlock()
	for _, c := range ending {
		s.over(c, segment.ErrSealed)
		c.writer.Stop()
	}
	for _, e := range toSeal {
		s.sealSoon(e)
	}
}

// awaitSeal returns once View shows that a chain is sealed.
func (s *Service) awaitSeal(ctx context.Context, e fragment.Epoch) error {
	s.mu.Lock()
	done := s.awaited[e]
	if done == nil {
		done = make(chan struct{})
		s.awaited[e] = done
	}
	s.mu.Unlock()
	if c, ok := s.chainMeta(e); !ok || c.State == fsm.ChainSealed {
		return nil // watchChains forgets whom it has nothing to tell
	}
	select {
	case <-done:
		return nil
	case <-s.ctx.Done():
		return api.ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("%w: chain %d is being sealed: %w", api.ErrUnavailable, uint64(e), ctx.Err())
	}
}

// sealSoon has a chain sealed that it falls to this node to seal, unless that
// is under way.
func (s *Service) sealSoon(e fragment.Epoch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.failed == nil && s.claimLocked(e) { // another node is named soon for one that failed
		s.wg.Go(func() { s.sealClaimed(e) })
	}
}

// claimLocked says that this node seals a chain; false: it does already.
func (s *Service) claimLocked(e fragment.Epoch) bool {
	if s.sealing[e] {
		return false
	}
	s.sealing[e] = true
	return true
}

// sealClaimed is sealUntil for who has claimed it.
func (s *Service) sealClaimed(e fragment.Epoch) {
	s.sealUntil(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sealing, e)
}

// sealUntil tries to seal a chain until it is sealed, by whomever, or falls to
// another node.
func (s *Service) sealUntil(e fragment.Epoch) {
	me := s.cfg.Identity.Node
	for n := 0; ; n++ {
		c, ok := s.chainMeta(e)
		if !ok || c.State == fsm.ChainSealed || c.Node != me && c.Sealer != me {
			return
		}
		err := s.seal(s.ctx, c)
		if err == nil || s.ctx.Err() != nil {
			return
		}
		if fatal, ok := errors.AsType[interface {
			error
			Fatal() bool
		}](err); ok && fatal.Fatal() {
			s.Fail(err)
			return
		}
		s.cfg.Logger.Warn("seal chain", "chain", e, "try", n+1, "err", err)
		if !s.pause(n) {
			return
		}
	}
}
