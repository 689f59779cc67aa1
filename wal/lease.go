package wal

import (
	"context"
	"fmt"
	"time"

	"github.com/wpd-io/wpd/wal/api"
)

// lookEvery is how often a writer whose lease has lapsed looks into the bucket
// for a seal: there it finds out that it was replaced, also where no other node
// reaches it any more.
const lookEvery = time.Second

// keep follows the lease of a chain as long as the chain takes batches.
func (s *Service) keep(c *chain) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for told := true; ; {
		changed := s.cfg.Meta.LeaseChanged(c.epoch)
		held := s.cfg.Meta.LeaseHeld(c.epoch)
		switch {
		case held:
			c.writer.Wake()
		case told:
			s.cfg.Logger.Warn("the lease has lapsed: no fragment is started until it is renewed", "chain", c.epoch)
		}
		told = held
		select {
		case <-changed:
			continue
		case <-c.over:
			return
		case <-tick.C:
		}
		if held {
			continue
		}
		if err := c.writer.Look(s.ctx); err != nil && s.ctx.Err() == nil {
			s.cfg.Logger.Warn("look for a seal", "chain", c.epoch, "err", err)
		}
	}
}

// leased waits until the lease of a chain is held; false: the chain is over.
func (s *Service) leased(ctx context.Context, c *chain) (bool, error) {
	for {
		changed := s.cfg.Meta.LeaseChanged(c.epoch)
		if s.cfg.Meta.LeaseHeld(c.epoch) {
			return true, nil
		}
		select {
		case <-changed:
		case <-c.over:
			return false, nil
		case <-ctx.Done():
			return false, fmt.Errorf("%w: this node's lease has lapsed: %w", api.ErrUnavailable, ctx.Err())
		}
	}
}
