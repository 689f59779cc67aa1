package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

const (
	// handedBytesMax bounds the batches that were taken and are not answered,
	// of all writers together. It keeps a node busy that answers after 40 ms
	// at 1.5 GB/s.
	handedBytesMax = 64 << 20
	// batchCost is what a batch counts for at least, so that the small ones
	// are bounded, too: to 16,384.
	batchCost = 4 << 10
)

// routes knows which node writes which log, and hands batches to it. None
// overtakes an earlier one of its log: as long as some of them are at one node,
// what belongs to another one waits. Safe for concurrent use.
type routes struct {
	pool *pool
	room *semaphore.Weighted // handedBytesMax

	mu       sync.Mutex // guards what follows
	known    map[fragment.LogID]route
	flows    map[fragment.LogID]*flow // of the logs that have batches here
	watching bool                     // for nodes that do not answer
}

// flow is the batches of one log that were taken and are not answered.
type flow struct {
	at      *node
	batches int       // at that node; 0: the last of them is being told
	moved   time.Time // when the first of them came, or the last answer
	held    []*batch  // that come behind those, for another node
	trouble error     // not all of those are stored, and they will come again
}

func newRoutes(p *pool) *routes {
	return &routes{
		pool: p, room: semaphore.NewWeighted(handedBytesMax),
		known: make(map[fragment.LogID]route), flows: make(map[fragment.LogID]*flow),
	}
}

// take takes a batch over, once there is room for it.
func (r *routes) take(ctx context.Context, b *batch) error {
	if !r.room.TryAcquire(b.cost) {
		if err := r.await(ctx, b.cost); err != nil {
			return err
		}
	}
	if r.pool.ctx.Err() != nil { // what made the room
		r.room.Release(b.cost)
		return api.ErrClosed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	to := r.targetLocked(b.Log)
	f := r.flows[b.Log]
	if f != nil && (f.at != to || len(f.held) > 0 || f.batches == 0) {
		f.held = append(f.held, b)
		return nil
	}
	if !to.appends.put(b) {
		r.room.Release(b.cost)
		return api.ErrClosed
	}
	if f == nil {
		f = &flow{at: to, moved: time.Now()}
		r.flows[b.Log] = f
		r.watchLocked()
	}
	f.batches++
	return nil
}

// await waits for room, until ctx ends or the client is closed.
func (r *routes) await(ctx context.Context, cost int64) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.pool.ctx, cancel)()
	err := r.room.Acquire(waiting, cost)
	switch {
	case err == nil:
		return nil
	case ctx.Err() == nil:
		return api.ErrClosed
	}
	return fmt.Errorf("%w: no room, %d MiB are not answered yet: %w", api.ErrUnavailable, handedBytesMax>>20, ctx.Err())
}

// targetLocked is the node that batches of a log go to.
func (r *routes) targetLocked(log fragment.LogID) *node {
	if n := r.writerLocked(log); n != nil {
		return n
	}
	return r.pool.fallback()
}

// answered tells what became of a batch that was at a node, and sends on what
// has waited for that.
func (r *routes) answered(n *node, b *batch, ack api.Ack, err error) {
	if elsewhere, ok := errors.AsType[*api.ElsewhereError](err); ok {
		r.follow(b.Log, n, elsewhere)
	}
	r.mu.Lock()
	f := r.flows[b.Log]
	f.moved = time.Now()
	if comesAgain(err) {
		f.trouble = err
	}
	f.batches--
	last, behind := f.batches == 0, len(f.held)
	r.mu.Unlock()
	r.tell(b, ack, err)
	if last {
		r.goOn(b.Log, f, behind)
	}
}

// tell tells what became of a batch, as the last thing that is done with it.
func (r *routes) tell(b *batch, ack api.Ack, err error) {
	r.room.Release(b.cost)
	b.done(ack, err)
}

// comesAgain says that who appended a batch will append it again.
func comesAgain(err error) bool {
	return errors.Is(err, api.ErrUncertain) || errors.Is(err, api.ErrUnavailable) || errors.Is(err, api.ErrMoved)
}

// goOn sends what was held back, now that nothing is before it. If something
// that was before it will come again, the first so many must not come before
// that: they are answered likewise. What came later, may have come again.
func (r *routes) goOn(log fragment.LogID, f *flow, behind int) {
	r.mu.Lock()
	why := f.trouble
	if f.trouble = nil; why != nil && behind > 0 {
		back := f.held[:behind]
		f.held = f.held[behind:]
		r.mu.Unlock()
		for _, b := range back {
			r.tell(b, api.Ack{}, r.behind(why))
		}
		r.mu.Lock()
	}
	f.at, f.moved = r.targetLocked(log), time.Now()
	held := f.held
	f.held = nil
	for len(held) > 0 && f.at.appends.put(held[0]) {
		f.batches++
		held = held[1:]
	}
	if f.batches == 0 {
		delete(r.flows, log)
	}
	r.mu.Unlock()
	for _, b := range held {
		r.tell(b, api.Ack{}, api.ErrClosed)
	}
}

// behind is the answer to a batch that was not sent, since an earlier one will
// come again because of why.
func (r *routes) behind(why error) error {
	if r.pool.isClosed() {
		return api.ErrClosed
	}
	if _, ok := errors.AsType[*api.ElsewhereError](why); ok {
		return why
	}
	return fmt.Errorf("%w: not sent, since batches before it will come again: %v", api.ErrUnavailable, why)
}
