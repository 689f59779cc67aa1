package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/api"
)

// chain is one that this process writes.
type chain struct {
	epoch  fragment.Epoch
	log    fragment.LogID // the only one that is attached to it; 0: any
	writer *segment.Writer
	over   chan struct{} // closed, under Service.mu, once it takes nothing more
	buried chan struct{} // closed once its seal is committed and what waited is answered

	logs    atomic.Int64  // attached
	taken   atomic.Uint64 // bytes of batches, since it was opened
	retired bool          // nobody needs it any more; guarded by Service.mu
	idle    idleness
}

// alive says whether a chain takes batches.
func (c *chain) alive() bool {
	select {
	case <-c.over:
		return false
	default:
		return true
	}
}

// berth is a place for one chain after another: one for all logs, and one for
// each log that has a chain of its own.
type berth struct {
	log   fragment.LogID // 0: any
	ready chan struct{}  // closed once one of these is set, under Service.mu
	chain *chain
	err   error // why there is none; the berth is gone then
}

// The pause before something is tried again that must succeed in the end; it
// doubles with each try.
const (
	retryPause    = 50 * time.Millisecond
	retryPauseMax = 2 * time.Second
)

// backoff is the pause before the n-th try, counted from 0; at most so long.
func backoff(n int, most time.Duration) time.Duration { return min(retryPause<<min(n, 10), most) }

// pause waits; false: ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pause waits before the n-th try of something; false: the service is closing.
func (s *Service) pause(n int) bool { return pause(s.ctx, backoff(n, retryPauseMax)) }

// berth returns the chain to which a log that has one of its own is to be
// attached, or, for 0, any other, and waits for it. Errors: *api.LimitError.
func (s *Service) berth(ctx context.Context, id fragment.LogID) (*chain, error) {
	for {
		b, err := s.berthOf(id)
		if err != nil {
			return nil, err
		}
		select {
		case <-b.ready:
		case <-s.failure:
			return nil, fmt.Errorf("%w: %w", api.ErrUnavailable, s.Err())
		case <-s.ctx.Done():
			return nil, api.ErrClosed
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: no chain to write to: %w", api.ErrUnavailable, ctx.Err())
		}
		if b.err != nil {
			return nil, b.err
		}
		if b.chain.alive() {
			return b.chain, nil
		}
	}
}

func (s *Service) berthOf(id fragment.LogID) (*berth, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, api.ErrClosed
	case s.failed != nil:
		return nil, fmt.Errorf("%w: %w", api.ErrUnavailable, s.failed)
	case s.berths[id] != nil:
		return s.berths[id], nil
	}
	if own := len(s.berths); own > s.cfg.ChainsMax { // one of them is for all logs
		return nil, &api.LimitError{What: "logs with a chain of their own at one node", Limit: uint64(s.cfg.ChainsMax), Value: uint64(own)}
	}
	return s.newBerthLocked(id), nil
}

// newBerthLocked makes a berth and gets a chain for it.
func (s *Service) newBerthLocked(id fragment.LogID) *berth {
	b := &berth{log: id, ready: make(chan struct{})}
	s.berths[id] = b
	s.wg.Go(func() { s.fill(b) })
	return b
}

// fill opens the chain of a berth: the one for all logs until there is one, any
// other as far as it goes at once.
func (s *Service) fill(b *berth) {
	for n := 0; ; n++ {
		err := s.open(s.ctx, b)
		switch {
		case err == nil, s.isClosed(), s.Err() != nil:
			return
		case hopeless(err):
			s.Fail(err)
			return
		case b.log != 0:
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.berths[b.log] == b {
				delete(s.berths, b.log)
			}
			b.err = err
			close(b.ready)
			return
		}
		s.cfg.Logger.Warn("open the next chain", "err", err)
		if !s.pause(n) {
			return
		}
	}
}

// hopeless says that this boot of this node gets no chain any more, or that its
// metadata have been rolled back.
func hopeless(err error) bool {
	if errors.Is(err, fs.ErrExist) || typed[*fsm.StaleError](err) || typed[*fsm.RemovedError](err) {
		return true
	}
	missing, ok := errors.AsType[*fsm.NotFoundError](err)
	return ok && missing.What == "node"
}

// open gets a chain epoch and begins the chain.
func (s *Service) open(ctx context.Context, b *berth) error {
	s.granting.Add(1) // until the chain is known here: see orphans
	defer s.granting.Add(-1)
	epoch, err := s.cfg.Meta.Grant(ctx, s.cfg.Window, b.log)
	if err != nil {
		return fmt.Errorf("get a chain epoch: %w", err)
	}
	c := &chain{epoch: epoch, log: b.log, over: make(chan struct{}), buried: make(chan struct{})}
	if c.writer, err = segment.Create(ctx, s.cfg.Store, s.identity(epoch), s.segmentOptions(c)); err != nil {
		return fmt.Errorf("open chain %d: %w", uint64(epoch), err)
	}
	// Not before: whoever restores the metadata meanwhile either sees this
	// chain, or is seen here.
	if err := s.cfg.Meta.CheckIncarnation(ctx); err != nil {
		return errors.Join(fmt.Errorf("open chain %d: %w", uint64(epoch), err), c.writer.Close(ctx))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed { // the next boot seals it
		return errors.Join(api.ErrClosed, c.writer.Close(ctx))
	}
	s.chains[epoch] = c
	if s.failed != nil {
		close(c.over)
		return s.failed
	}
	b.chain = c
	close(b.ready)
	s.wg.Go(func() { s.keep(c) })
	return nil
}

func (s *Service) segmentOptions(c *chain) segment.Options {
	return segment.Options{
		FragmentBytes: s.cfg.FragmentBytes,
		FlushInterval: s.cfg.FlushInterval,
		Room:          s.room,
		Lease:         func() bool { return s.cfg.Meta.LeaseHeld(c.epoch) },
		CutBytes:      s.cfg.CutBytes,
		CutAge:        s.cfg.CutAge,
		CutFragments:  s.cfg.CutFragments,
		Durable:       s.durable,
		Commit:        func(ctx context.Context, cut segment.Cut) error { return s.commitCut(ctx, c.epoch, cut) },
		Merge:         func(ctx context.Context, cut segment.Cut) error { return s.commitMerge(ctx, c.epoch, cut) },
		Applied:       s.cfg.Meta.Applied,
		Over:          func(err error) { s.over(c, err) },
		Cache:         s.cache,
		Logger:        s.cfg.Logger,
		Metrics:       s.segments,
	}
}

func (s *Service) identity(e fragment.Epoch) segment.Chain {
	id := s.cfg.Identity
	return segment.Chain{
		Cluster: id.Cluster, Incarnation: id.Incarnation, Epoch: e,
		Node: id.Node, Boot: id.Boot, Nonce: id.Nonce, Window: uint64(s.cfg.Window),
	}
}
