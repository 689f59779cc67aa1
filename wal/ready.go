package wal

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd/wal/api"
)

// stallPatience is for how long appends may wait, beyond the flush interval,
// until that is more than a slow store.
const stallPatience = 10 * time.Second

// Ready says why an append would not be acknowledged now; nil if nothing
// speaks against it. It asks nobody: it is what this process knows.
func (s *Service) Ready() error {
	s.mu.RLock()
	b, failed, closed := s.berths[0], s.failed, s.closed
	var c *chain
	if b != nil {
		c = b.chain
	}
	s.mu.RUnlock()
	switch {
	case closed:
		return api.ErrClosed
	case failed != nil:
		return fmt.Errorf("%w: this node writes nothing any more: %w", api.ErrUnavailable, failed)
	case c == nil:
		return fmt.Errorf("%w: no chain to write to; a new one is being opened", api.ErrUnavailable)
	case !s.cfg.Meta.LeaseHeld(c.epoch):
		return fmt.Errorf("%w: this node's lease has lapsed: no majority of the nodes answers", api.ErrUnavailable)
	}
	if err := s.admit(); err != nil {
		return err
	}
	if d := s.metrics.stalled(); d > stallPatience+s.cfg.FlushInterval {
		return fmt.Errorf("%w: appends have been waiting for %v, and none was acknowledged", api.ErrUnavailable, d.Round(time.Second))
	}
	return nil
}

// admit says why no batch may be taken now; nil: any may.
func (s *Service) admit() error {
	if s.cfg.Admit == nil {
		return nil
	}
	return s.cfg.Admit()
}

// Flush returns once all that was taken before is durable and answered, or
// with ctx's error. It does not wait for the flush interval.
func (s *Service) Flush(ctx context.Context) error {
	var g errgroup.Group // what waits for the next chain was not taken yet
	for _, c := range s.liveChains() {
		g.Go(func() error { return c.writer.Flush(ctx) })
	}
	return g.Wait()
}
