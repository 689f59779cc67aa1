package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// openPauseMax bounds the pause before a node that could not be reached is
// tried again. What waits meanwhile has nowhere else to go.
const openPauseMax = 250 * time.Millisecond

// appends sends batches to one node, and answers each of them once. They go on
// one stream at a time, which is opened when there is something to send, and is
// followed by another one when it breaks. Safe for concurrent use.
type appends struct {
	node *node
	wake chan struct{} // there is something in queue

	mu      sync.Mutex // guards what follows
	queue   []*batch   // in the order of the calls; not handed over to a stream yet
	queued  int        // bytes of them
	running bool
	closed  bool
	cut     context.CancelCauseFunc // of the stream
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

func newAppends(n *node) *appends {
	return &appends{node: n, wake: make(chan struct{}, 1)}
}

// put takes a batch over; false: the client is closed.
func (a *appends) put(b *batch) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.running && !a.closed {
		a.running = a.node.pool.start(a.run) == nil
		a.closed = !a.running
	}
	if a.closed {
		return false
	}
	a.queue = append(a.queue, b)
	a.queued += b.Batch.Len()
	select {
	case a.wake <- struct{}{}:
	default:
	}
	return true
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
	a.queued -= b.Batch.Len()
	return b
}

// readyBytes is how many bytes, about, can be sent from b on.
func (a *appends) readyBytes(b *batch) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.queued + max(b.Batch.Len(), b.ReadyBytes)
}

// answer tells what became of a batch.
func (a *appends) answer(b *batch, ack api.Ack, err error) {
	a.node.pool.routes.answered(a.node, b, ack, err)
}

// run sends what is taken until the client is closed, from one stream to the
// next. What a stream leaves behind, and what waits behind that, is answered:
// who appended it decides whether it comes again.
func (a *appends) run() {
	p := a.node.pool
	pause := pauses{}
	for a.waits(p.ctx) {
		s := &session{appends: a, request: newRequest(), flight: make(map[uint64]*batch)}
		err := s.run(a.begin(p.ctx))
		a.refuse(s.outcome(err, false))
		if s.opened && reasonOf(err) == logv1.ErrorReason_ERROR_REASON_CLOSING && p.ctx.Err() == nil {
			p.lost(a.node)
		}
		if s.answered {
			pause = pauses{}
			continue
		}
		if pause.most = 0; !s.opened {
			pause.most = openPauseMax
		}
		pause.wait(p.ctx, err)
	}
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.refuse(api.ErrClosed)
}

// begin returns the context of a stream.
func (a *appends) begin(ctx context.Context) context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx, a.cut = context.WithCancelCause(ctx)
	return ctx
}

// end cuts the stream, if there is one: what it did not answer is uncertain.
func (a *appends) end(why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cut != nil {
		a.cut(why)
	}
}

// refuse answers all that no stream has taken.
func (a *appends) refuse(err error) {
	a.mu.Lock()
	queue := a.queue
	a.queue, a.queued = nil, 0
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

// Append implements api.Service.
func (s *Service) Append(ctx context.Context, r api.AppendRequest, done func(api.Ack, error)) error {
	if r.Batch.Len() == 0 {
		return fmt.Errorf("%w: an empty batch", api.ErrInvalid)
	}
	return s.pool.routes.take(ctx, &batch{AppendRequest: r, done: done, cost: int64(max(r.Batch.Len(), batchCost))})
}
