package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd"
)

// crowdWait is how long followers may take to connect, or to get an entry.
const crowdWait = 30 * time.Second

// crowd is followers of one log.
type crowd struct {
	clients []*wpd.Client
	readers []*wpd.Reader
	g       errgroup.Group
	stop    context.CancelFunc // ends the followers' waiting
	failed  atomic.Pointer[error]
}

// crowdEntry is what wakes them.
const crowdEntry = "wake up"

// follow adds a follower, which waits for one entry.
func (c *crowd) follow(ctx context.Context, log *wpd.Log) error {
	r, err := log.Reader(ctx, wpd.Earliest, wpd.Follow())
	if err != nil {
		return err
	}
	c.readers = append(c.readers, r)
	c.g.Go(func() error {
		entries, err := r.NextBatch(ctx)
		if err == nil && (len(entries) != 1 || entries[0].LSN != 1 || string(entries[0].Data) != crowdEntry) {
			err = fmt.Errorf("a follower got %d entries, the first with LSN %d; want the one of LSN 1", len(entries), entries[0].LSN)
		}
		if err != nil {
			err = fmt.Errorf("follow log %s: %w", log.Name(), err)
			c.failed.CompareAndSwap(nil, &err)
		}
		return err
	})
	return nil
}

// wake appends the entry, and returns how long it took until all had it.
func (c *crowd) wake(ctx context.Context, log *wpd.Log) (time.Duration, error) {
	ended := make(chan error, 1)
	go func() { ended <- c.g.Wait() }()
	start := time.Now()
	w, err := log.Writer(ctx)
	if err == nil {
		_, err = w.Append(ctx, []byte(crowdEntry))
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		c.stop()
		<-ended
		return 0, err
	}
	select {
	case err = <-ended:
	case <-time.After(crowdWait):
		c.stop()
		err = errors.Join(fmt.Errorf("not all followers had the entry after %v", crowdWait), <-ended)
	}
	return time.Since(start), err
}

// close ends all followers and waits for them.
func (c *crowd) close() error {
	c.stop()
	_ = c.g.Wait() // told already
	var errs []error
	for _, r := range c.readers {
		errs = append(errs, r.Close())
	}
	for _, client := range c.clients {
		errs = append(errs, client.Close())
	}
	return errors.Join(errs...)
}
