package node

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/wpd-io/wpd/wal/api"
	"github.com/wpd-io/wpd/wal/offline"
)

// errand is the one long piece of work over the whole bucket that a node does
// at a time: two would only measure, or slow, each other.
type errand struct {
	mu    sync.Mutex
	what  string        // "" while there is none
	ended chan struct{} // of the last that was begun; nil before
}

// beginErrand begins one, which ends with ctx or when the node closes. done
// must be called.
func (n *Node) beginErrand(ctx context.Context, what string) (_ context.Context, done func(), err error) {
	n.errand.mu.Lock()
	defer n.errand.mu.Unlock()
	switch {
	case n.isDraining():
		return nil, nil, api.ErrClosed
	case n.errand.what != "":
		return nil, nil, &api.BusyError{What: "the node is busy: " + n.errand.what, RetryAfter: time.Second}
	}
	ended := make(chan struct{})
	n.errand.what, n.errand.ended = what, ended
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(n.draining, func() { cancel(api.ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		n.errand.mu.Lock()
		defer n.errand.mu.Unlock()
		n.errand.what = ""
		close(ended)
	}, nil
}

// closeErrand waits for the end of what was begun, as long as ctx allows.
func (n *Node) closeErrand(ctx context.Context) {
	n.errand.mu.Lock()
	ended := n.errand.ended
	n.errand.mu.Unlock()
	if ended == nil {
		return
	}
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// Verify reads the whole bucket, and returns its report as "wpd verify -o json"
// prints it. progress is called now and then. Errors: *api.BusyError, and
// api.ErrUnavailable if the store does not answer.
func (n *Node) Verify(ctx context.Context, progress func(objects, bytes uint64)) ([]byte, error) {
	ctx, done, err := n.beginErrand(ctx, "somebody verifies the bucket")
	if err != nil {
		return nil, err
	}
	defer done()
	start := time.Now()
	r, err := offline.Verify(ctx, n.store, offline.VerifyOptions{Options: offline.Options{
		Progress: func(p offline.Progress) { progress(p.Objects, p.Bytes) },
	}})
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	return r.JSON(time.Since(start))
}

// unavailable is what a caller is told if an errand did not end.
func unavailable(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
}
