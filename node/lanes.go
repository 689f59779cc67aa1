package node

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

const (
	// laneBytesMax bounds the batches that wait for something of their own logs,
	// of all logs together. Beyond it, who hands one over waits.
	laneBytesMax = 32 << 20
	// laneCost is what a batch counts for at least, so that small ones are
	// bounded, too: to 8,192, and so are the goroutines.
	laneCost = 4 << 10
)

// lanes are the batches that wait for something of their own logs: for a
// hand-over, for a node to be chosen, for an answer of the leader. Each log has
// its own, so that a thousand logs that change hands do so side by side, though
// their batches come on one stream, and that others go past them.
type lanes struct {
	room  *semaphore.Weighted // laneBytesMax
	count atomic.Int64        // of logs; 0 spares the others the lock
	wg    sync.WaitGroup

	mu  sync.Mutex
	all map[fragment.LogID]*lane // guarded by mu
}

// lane is what waits of one log, in its order. A goroutine does one after the
// other, as long as there are any.
type lane struct{ queue []func() }

func (l *lanes) init() {
	l.room, l.all = semaphore.NewWeighted(laneBytesMax), make(map[fragment.LogID]*lane)
}

// hold says whether something of a log waits: then what follows must, too.
func (l *lanes) hold(log fragment.LogID) bool {
	if l.count.Load() == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[log] != nil
}

// put has something done with a batch, after all else of its log. It waits for
// room as long as ctx lasts.
func (l *lanes) put(ctx context.Context, log fragment.LogID, bytes int, do func()) error {
	cost := int64(min(max(bytes, laneCost), laneBytesMax))
	if err := l.room.Acquire(ctx, cost); err != nil {
		return fmt.Errorf("%w: no room, %d MiB wait for logs that change hands: %w", api.ErrUnavailable, laneBytesMax>>20, err)
	}
	task := func() {
		defer l.room.Release(cost)
		do()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if x := l.all[log]; x != nil {
		x.queue = append(x.queue, task)
		return nil
	}
	x := &lane{queue: []func(){task}}
	l.all[log] = x
	l.count.Add(1)
	l.wg.Go(func() { l.run(log, x, task) })
	return nil
}

// run does what waits, until nothing does.
func (l *lanes) run(log fragment.LogID, x *lane, do func()) {
	for do != nil {
		do()
		do = l.next(log, x)
	}
}

// next takes what was done off the lane of a log, and returns what is next; nil:
// nothing is, and there is no lane any more.
func (l *lanes) next(log fragment.LogID, x *lane) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	x.queue[0] = nil
	if x.queue = x.queue[1:]; len(x.queue) > 0 {
		return x.queue[0]
	}
	delete(l.all, log)
	l.count.Add(-1)
	return nil
}

// wait waits until nothing waits any more.
func (l *lanes) wait() { l.wg.Wait() }
