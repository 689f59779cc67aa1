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

// feedRetry is when a node whose feed ended because of the load had better ask
// for another one.
const feedRetry = time.Second

// Feed tells another node what becomes durable in a chain that this node
// writes, by messages of at most segment.FeedFrameMax bytes, which are shared
// and must not be changed. It ends with the error of send, or ctx's; with
// api.ErrMoved once the chain is over, or if it is none of this node's; with a
// *api.BusyError if send is too slow, or there are too many feeds.
func (s *Service) Feed(ctx context.Context, epoch fragment.Epoch, send func(message []byte) error) error {
	s.mu.RLock()
	c, closed := s.chains[epoch], s.closed
	s.mu.RUnlock()
	switch {
	case closed:
		return api.ErrClosed
	case c == nil:
		return fmt.Errorf("%w: this node does not write chain %d", api.ErrMoved, uint64(epoch))
	}
	err := c.writer.Feed(ctx, send)
	switch {
	case errors.Is(err, segment.ErrSealed), errors.Is(err, segment.ErrClosed):
		return fmt.Errorf("%w: chain %d is over: %w", api.ErrMoved, uint64(epoch), err)
	case errors.Is(err, segment.ErrSlow), errors.Is(err, segment.ErrFeeds):
		return &api.BusyError{What: err.Error(), RetryAfter: feedRetry}
	}
	return err
}

// OwnerTail is the linearizable tail of a log that this node writes, or that
// nobody does: see Peers.Tail. Errors: *api.ElsewhereError, and those of Tail.
func (s *Service) OwnerTail(ctx context.Context, id fragment.LogID) (fragment.LSN, error) {
	l, err := s.log(ctx, id)
	if err != nil {
		return 0, err
	}
	if err := s.current(ctx, l); err != nil {
		return 0, err
	}
	return l.tail()
}

// tail returns the durable tail as this node knows it.
func (l *log) tail() (fragment.LSN, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deleted {
		return 0, fmt.Errorf("log %d: %w", l.id, api.ErrDeleted)
	}
	return l.durable, nil
}

// tailBy is tail, by what the metadata say of the log, too: what was trimmed was
// durable, and that may be known here before the news of what became durable.
func (l *log) tailBy(m *fsm.Log) fragment.LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.durable, m.First)
}
