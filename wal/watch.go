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

// watchChains does what the metadata ask for concerning chains, as soon as they
// do.
func (s *Service) watchChains() {
	for {
		changed := s.cfg.Meta.Changed()
		s.lookAtChains()
		select {
		case <-changed:
		case <-s.ctx.Done():
			return
		}
	}
}

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

// The pauses of watchLogs. It looks at every log that is attached here, so it
// takes at most a tenth of a processor for that.
const (
	watchLogsPause    = 20 * time.Millisecond
	watchLogsShare    = 10
	watchLogsEveryMax = time.Minute
)

// watchLogs takes in what the metadata say of the logs that are attached here,
// and gives back the chains that are not used.
func (s *Service) watchLogs() {
	tick := time.NewTicker(min(watchLogsEveryMax, max(s.cfg.ChainIdle/8, watchLogsPause)))
	defer tick.Stop()
	for {
		changed := s.cfg.Meta.Changed()
		begin := time.Now()
		for _, l := range s.attachedLogs() {
			s.lookAtLog(l)
		}
		s.sweep()
		pause := time.NewTimer(max(watchLogsPause, watchLogsShare*time.Since(begin)))
		select {
		case <-pause.C:
		case <-s.ctx.Done():
			pause.Stop()
			return
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
	}
}

// attachedLogs are those that are attached to a chain of ours that takes
// batches.
func (s *Service) attachedLogs() []*log {
	s.mu.RLock()
	all := slices.Collect(maps.Values(s.logs))
	s.mu.RUnlock()
	return slices.DeleteFunc(all, func(l *log) bool {
		c := l.home()
		return c == nil || !c.alive()
	})
}

// lookAtLog takes in what the metadata say of a log that is attached here.
func (s *Service) lookAtLog(l *log) {
	var m *fsm.Log
	s.cfg.Meta.View(func(st *fsm.State) { m, _ = st.Log(l.id) })
	if s.heed(l, m); m == nil {
		return
	}
	switch c := l.home(); {
	case c == nil || !c.alive():
	case c.log != berthFor(m):
		s.rehouse(l)
	case c.log != 0 && c.idle.since(l.latest()) >= s.cfg.ChainIdle:
		s.rest(l, c)
	}
}

// unusedMax is for how long a chain may be there for a log that does not come:
// far longer than it takes to attach one.
const unusedMax = time.Minute

// sweep ends the chains that were opened for a log that did not come: it went
// elsewhere, or was deleted.
func (s *Service) sweep() {
	s.mu.RLock()
	var idle []*chain
	for _, c := range s.chains {
		if c.log != 0 && c.alive() && c.logs.Load() == 0 && c.idle.since(nobody) >= unusedMax {
			idle = append(idle, c)
		}
	}
	s.mu.RUnlock()
	for _, c := range idle {
		s.retire(c)
	}
}

// nobody is the number of no fragment.
const nobody = 1<<64 - 1

// heed takes in what the metadata say of a log; nil: it is gone.
func (s *Service) heed(l *log, m *fsm.Log) {
	if m == nil {
		s.forget(l)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.ConfigVersion >= l.version { // or it was overtaken on its way
		l.version, l.limits = m.ConfigVersion, limitsOf(m.Config)
	}
}

// idleness is for how long something stays as it is. For one goroutine.
type idleness struct {
	last uint64
	from time.Time
}

func (i *idleness) since(now uint64) time.Duration {
	if i.from.IsZero() || i.last != now {
		i.last, i.from = now, time.Now()
	}
	return time.Since(i.from)
}
