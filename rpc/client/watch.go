package client

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

	"github.com/wpd-io/wpd/fragment"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
)

const (
	// watchEvery is how often it is looked for batches that get no answer.
	watchEvery = time.Second
	// stuckAfter is how long batches of a log may get no answer until other
	// nodes are asked who writes the log now: a node that was paused, or cut
	// off, may keep its connections for long after another has taken over. A
	// store is seldom as slow.
	stuckAfter = 2 * time.Second
)

// errStuck is why a stream was cut.
var errStuck = errors.New("the node does not answer, and another one writes the log now")

// watchLocked begins to look for batches that get no answer, unless somebody
// does.
func (r *routes) watchLocked() {
	if !r.watching && r.pool.follows {
		r.watching = r.pool.start(r.watch) == nil
	}
}

// watch looks for batches that get no answer, as long as there are batches.
func (r *routes) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-r.pool.ctx.Done():
			return
		}
		stuck, over := r.stuck()
		if over {
			return
		}
		for n, log := range stuck {
			r.check(n, log)
		}
	}
}

// stuck returns the nodes that do not answer, with one log of each; or that
// there is nothing to watch.
func (r *routes) stuck() (stuck map[*node]fragment.LogID, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.flows) == 0 {
		r.watching = false
		return nil, true
	}
	stuck = make(map[*node]fragment.LogID)
	for log, f := range r.flows {
		if time.Since(f.moved) >= stuckAfter {
			stuck[f.at] = log
		}
	}
	return stuck, false
}

// check asks other nodes who writes a log of which a node answers nothing. If it
// is not that one, its stream is cut: what it did not answer is uncertain, and
// who appended it sends it again, to the node that writes the log now.
func (r *routes) check(n *node, log fragment.LogID) {
	ctx, cancel := context.WithTimeout(r.pool.ctx, watchEvery)
	defer cancel()
	for _, other := range r.pool.candidates() {
		if other == n || other.isDown() {
			continue
		}
		if addr, err := other.writerOf(ctx, log); err == nil {
			if addr == "" {
				addr = other.addr // nobody does; whoever is asked first sees to that
			}
			r.learn(other, log, addr, true)
			break
		}
	}
	r.mu.Lock()
	f := r.flows[log]
	moved := f != nil && f.at == n && time.Since(f.moved) >= stuckAfter && r.targetLocked(log) != n
	r.mu.Unlock()
	if moved {
		r.pool.lost(n)
		n.appends.end(errStuck)
	}
}

// writerOf asks the node where a log is written.
func (n *node) writerOf(ctx context.Context, log fragment.LogID) (addr string, err error) {
	_, err = n.once(ctx, harmless, func(ctx context.Context, c *conn, opts ...grpc.CallOption) error {
		w, err := c.log.GetWriter(ctx, &logv1.GetWriterRequest{LogId: uint64(log)}, opts...)
		addr = w.GetAddr()
		return err
	})
	return addr, err
}
