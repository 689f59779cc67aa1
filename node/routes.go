package node

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// routePatience is how long batches that are under way to a node may hold up
// those for the log's next writer. Then the connection to that node is dropped:
// what was under way on it has an unknown outcome, and comes again.
const routePatience = time.Second

// routes is where the batches are, log by log, that were forwarded and are not
// answered yet. A log's are all at one node.
type routes struct {
	drop  func(addr string) // ends the connection to a node
	count atomic.Int64      // of batches; 0 spares those that are written here the lock

	mu  sync.Mutex
	all map[fragment.LogID]*route // guarded by mu
}

// route is where the batches of one log are.
type route struct {
	addr   string
	flying int
	idle   chan struct{} // closed with flying back at 0
}

func (r *routes) init(drop func(string)) {
	r.drop, r.all = drop, make(map[fragment.LogID]*route)
}

// enter waits until nothing of a log is under way elsewhere, and counts one
// more batch to addr, if that is not this node. leave must follow then.
func (r *routes) enter(ctx context.Context, log fragment.LogID, addr string) error {
	if addr == "" && r.count.Load() == 0 {
		return nil
	}
	late := time.NewTimer(routePatience)
	defer late.Stop()
	for {
		x := r.join(log, addr)
		if x == nil {
			return nil
		}
		select {
		case <-x.idle:
		case <-late.C:
			r.drop(x.addr)
		case <-ctx.Done():
			return fmt.Errorf("%w: batches are under way to the log's last writer: %w", api.ErrUnavailable, ctx.Err())
		}
	}
}

// tryEnter is enter where nothing is to be waited for; false: something is.
func (r *routes) tryEnter(log fragment.LogID, addr string) bool {
	return addr == "" && r.count.Load() == 0 || r.join(log, addr) == nil
}

// join counts one more batch to addr, or returns the route to another node that
// is not idle.
func (r *routes) join(log fragment.LogID, addr string) *route {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.all[log]
	switch {
	case x != nil && x.addr != addr:
		return x
	case addr == "":
		return nil
	case x == nil:
		x = &route{addr: addr, idle: make(chan struct{})}
		r.all[log] = x
	}
	x.flying++
	r.count.Add(1)
	return nil
}

// leave says that a batch is answered, or was not taken.
func (r *routes) leave(log fragment.LogID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count.Add(-1)
	x := r.all[log]
	if x.flying--; x.flying == 0 {
		delete(r.all, log)
		close(x.idle)
	}
}
