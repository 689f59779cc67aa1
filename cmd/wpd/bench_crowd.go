package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

// crowdWait is how long followers may take to connect, or to get an entry.
const crowdWait = 30 * time.Second

// crowd is followers of one log, at one node.
type crowd struct {
	dial   func(ctx context.Context) (*wpd.Client, error)
	status func(ctx context.Context) (*adminv1.GetStatusResponse, error) // of the node
	per    int                                                           // followers on a connection
	noun   string                                                        // what one is called
	p      *progress

	clients []*wpd.Client
	readers []*wpd.Reader
	g       *errgroup.Group    // of the followers
	stop    context.CancelFunc // ends their waiting
}

// begin returns the context of the followers, which ends with the first that
// fails. close must follow.
func (c *crowd) begin(ctx context.Context) context.Context {
	ctx, c.stop = context.WithCancel(ctx)
	c.g, ctx = errgroup.WithContext(ctx)
	return ctx
}

// connect starts n followers of a log from a position on, each of which does as
// follow says, which is told the number of its connection, from 0. It waits until
// the node has them all, beside the others that it had before. ctx is that of
// begin; if a follower fails, that is the error.
func (c *crowd) connect(ctx context.Context, n int, log string, from wpd.Position, others uint64, follow func(conn int, r *wpd.Reader) error) error {
	err := c.start(ctx, n, log, from, follow)
	if err == nil {
		err = c.connected(ctx, n, others)
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (c *crowd) start(ctx context.Context, n int, log string, from wpd.Position, follow func(conn int, r *wpd.Reader) error) error {
	for have := 0; have < n; have += c.per {
		c.p.say("connecting: %s of %s", countText(have), plural(n, c.noun))
		client, err := c.dial(ctx)
		if err != nil {
			return err
		}
		c.clients = append(c.clients, client)
		l, err := client.Log(ctx, log)
		if err != nil {
			return err
		}
		for range min(c.per, n-have) {
			r, err := l.Reader(ctx, from, wpd.Follow())
			if err != nil {
				return err
			}
			c.readers = append(c.readers, r)
			c.g.Go(func() error { return follow(have/c.per, r) })
		}
	}
	return nil
}

// connected waits until the node has n followers, beside others.
func (c *crowd) connected(ctx context.Context, n int, others uint64) error {
	deadline := time.Now().Add(crowdWait)
	for {
		status, err := c.status(ctx)
		if err != nil {
			return err
		}
		have := status.GetStats().GetReadStreams()
		switch {
		case have >= others+uint64(n):
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%w: the server has %d read streams after %v; want %d more than the %d before", wpd.ErrUnavailable, have, crowdWait, n, others)
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// finish waits until all followers have ended, and stops those that have not
// after a while. It returns what went wrong first.
func (c *crowd) finish(most time.Duration) error {
	late := time.AfterFunc(most, c.stop)
	err := c.g.Wait()
	if !late.Stop() && errors.Is(err, context.Canceled) {
		return fmt.Errorf("not all %ss had every entry %v after the last append: %w", c.noun, most, err)
	}
	return err
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
