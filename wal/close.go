package wal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd/segment"
)

// releasesAtOnce is how many logs Close hands over at a time, and handOverMax
// bounds the time for that.
const (
	releasesAtOnce = 64
	handOverMax    = 15 * time.Second
)

// Close hands its logs over if there are other nodes, flushes and seals, as
// long as ctx allows, and stops. What could not be flushed has an unknown
// outcome, and whoever takes over seals then. Streams must be closed before.
// Idempotent.
func (s *Service) Close(ctx context.Context) error {
	s.handOver(ctx)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.wg.Wait()
		return nil
	}
	s.closed = true
	var rest []*chain
	for _, c := range s.chains {
		if !c.alive() {
			rest = append(rest, c)
		}
	}
	live := s.stopLocked()
	logs := slices.Collect(maps.Values(s.logs))
	s.mu.Unlock()
	for _, l := range logs {
		l.wake() // followers learn that it is over
	}
	errs := make([]error, len(live)+len(rest))
	var g errgroup.Group
	for i, c := range live {
		g.Go(func() error {
			errs[i] = s.end(ctx, c)
			return nil
		})
	}
	for i, c := range rest {
		g.Go(func() error {
			errs[len(live)+i] = s.letGo(ctx, c)
			return nil
		})
	}
	_ = g.Wait() // what went wrong is in errs
	s.cancel()
	s.wg.Wait()
	s.reader.Close()
	s.metrics.unregister()
	return errors.Join(errs...)
}

// handOver lets the other nodes have the logs of this one, for at most half of
// the time there is; with what is left then, the seal does it.
func (s *Service) handOver(ctx context.Context) {
	if s.cfg.Peers == nil || ctx.Err() != nil || s.isClosed() {
		return
	}
	patience := handOverMax
	if end, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(end)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.ReleaseAll(ctx, releasesAtOnce); err != nil {
		s.cfg.Logger.Warn("hand all logs over before the end; the seals do it", "err", err)
	}
}

// end brings a chain of this node to its end: everything durable, cut, sealed.
func (s *Service) end(ctx context.Context, c *chain) error {
	err := c.writer.Flush(ctx)
	if err == nil {
		err = c.writer.CutNow(ctx)
	}
	if errors.Is(err, segment.ErrSealed) {
		err = nil // somebody was faster
	}
	if err := errors.Join(err, c.writer.Close(ctx)); err != nil {
		return fmt.Errorf("close chain %d: %w", uint64(c.epoch), err)
	}
	return s.sealOwn(ctx, c)
}

// letGo stops the writer of a chain that takes nothing any more. One that is
// being brought to its end is waited for.
func (s *Service) letGo(ctx context.Context, c *chain) error {
	s.mu.RLock()
	retired := c.retired
	s.mu.RUnlock()
	if retired {
		select {
		case <-c.buried:
		case <-ctx.Done():
		}
	}
	return c.writer.Close(ctx)
}
