package client

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/semaphore"

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

// appends takes batches and answers each of them once. They go on one stream
// at a time, which is opened when there is something to send, and is followed
// by another one when it breaks. Safe for concurrent use.
type appends struct {
	pool *pool
	room *semaphore.Weighted // handedBytesMax
	wake chan struct{}       // there is something in queue

	mu      sync.Mutex // guards what follows
	queue   []*batch   // in the order of the calls; not handed over to a stream yet
	running bool
	closed  bool
}

// batch is one that was taken.
type batch struct {
	api.AppendRequest
	done func(api.Ack, error)
	cost int64

	// Of its stream; only the goroutine that sends looks at them, and, once
	// that has ended, the one that answers.
	number uint64
	sent   int  // bytes of it that were put into messages
	handed bool // the last of them was handed over to gRPC
}

func newAppends(p *pool) *appends {
	return &appends{pool: p, room: semaphore.NewWeighted(handedBytesMax), wake: make(chan struct{}, 1)}
}

// Append implements api.Service.
func (s *Service) Append(ctx context.Context, r api.AppendRequest, done func(api.Ack, error)) error {
	if r.Batch.Len() == 0 {
		return fmt.Errorf("%w: an empty batch", api.ErrInvalid)
	}
	return s.appends.take(ctx, &batch{AppendRequest: r, done: done, cost: int64(max(r.Batch.Len(), batchCost))})
}

// take takes a batch over, once there is room for it.
func (a *appends) take(ctx context.Context, b *batch) error {
	if !a.room.TryAcquire(b.cost) {
		if err := a.await(ctx, b.cost); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.running && !a.closed {
		a.running = a.pool.start(a.run) == nil
		a.closed = !a.running
	}
	if a.closed {
		a.room.Release(b.cost)
		return api.ErrClosed
	}
	a.queue = append(a.queue, b)
	select {
	case a.wake <- struct{}{}:
	default:
	}
	return nil
}

// await waits for room, until ctx ends or the client is closed.
func (a *appends) await(ctx context.Context, cost int64) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.pool.ctx, cancel)()
	err := a.room.Acquire(waiting, cost)
	switch {
	case err == nil:
		return nil
	case ctx.Err() == nil:
		return api.ErrClosed
	}
	return fmt.Errorf("%w: no room, %d MiB are not answered yet: %w", api.ErrUnavailable, handedBytesMax>>20, ctx.Err())
}

// pop takes the next batch off the queue; nil if it is empty.
func (a *appends) pop() *batch {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) == 0 {
		return nil
	}
	b := a.queue[0]
	a.queue[0] = nil
	a.queue = a.queue[1:]
	return b
}

// answer tells what became of a batch, as its last deed.
func (a *appends) answer(b *batch, ack api.Ack, err error) {
	a.room.Release(b.cost)
	b.done(ack, err)
}

// run sends what is taken until the client is closed, from one stream to the
// next. What a stream leaves behind, and what waits behind that, is answered:
// who appended it decides whether it comes again.
func (a *appends) run() {
	ctx := a.pool.ctx
	pause := pauses{}
	for a.waits(ctx) {
		s := &session{appends: a, request: newRequest(), flight: make(map[uint64]*batch)}
		err := s.run(ctx)
		a.refuse(s.outcome(err, false))
		switch {
		case s.answered:
			pause = pauses{}
		case s.opened: // without one, it has waited already
			pause.wait(ctx, err)
		}
	}
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.refuse(api.ErrClosed)
}

// refuse answers all that no stream has taken.
func (a *appends) refuse(err error) {
	a.mu.Lock()
	queue := a.queue
	a.queue = nil
	a.mu.Unlock()
	for _, b := range queue {
		a.answer(b, api.Ack{}, err)
	}
}

// waits waits until there is something to send; false: the client is closed.
func (a *appends) waits(ctx context.Context) bool {
	for ctx.Err() == nil {
		a.mu.Lock()
		n := len(a.queue)
		a.mu.Unlock()
		if n > 0 {
			return true
		}
		select {
		case <-a.wake:
		case <-ctx.Done():
		}
	}
	return false
}
