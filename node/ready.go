package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/wal/api"
)

// confirmPatience bounds a question to the metadata whether this node is still
// what it was.
const confirmPatience = 2 * time.Second

// Ready says why the node can't append or read now: one error for each reason,
// joined; nil if it can. It may ask the store, at most once in a few seconds.
func (n *Node) Ready(ctx context.Context) error {
	if n.isDraining() {
		return fmt.Errorf("draining: the node is about to stop: %w", api.ErrClosed)
	}
	logs := n.opened()
	if logs == nil {
		return fmt.Errorf("%w: %s", api.ErrUnavailable, starting)
	}
	var errs []error
	if err := logs.Ready(); err != nil {
		errs = append(errs, fmt.Errorf("appends: %w", err))
	}
	ctx, cancel := context.WithTimeout(ctx, confirmPatience)
	defer cancel()
	if err := n.member.Confirm(ctx); err != nil {
		errs = append(errs, fmt.Errorf("metadata: %w", err))
	}
	if err := n.check.read(n.store); err != nil {
		errs = append(errs, fmt.Errorf("bucket: %w", err))
	}
	return errors.Join(errs...)
}

// storeCheck finds out whether the store answers, and remembers it for a while,
// so that nobody's curiosity costs many requests.
type storeCheck struct {
	mu  sync.Mutex
	at  time.Time
	err error
}

const (
	checkEvery    = 5 * time.Second
	checkPatience = 3 * time.Second
)

// read reads a byte of an object that must be there.
func (c *storeCheck) read(store *blobstore.Bucket) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && time.Since(c.at) < checkEvery {
		return c.err
	}
	// Of nobody's context: the answer is for others too.
	ctx, cancel := context.WithTimeout(context.Background(), checkPatience)
	defer cancel()
	_, _, c.err = store.ReadRange(ctx, clusterKey, 0, 1)
	c.at = time.Now()
	return c.err
}
