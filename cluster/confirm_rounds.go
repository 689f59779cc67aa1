package cluster

import (
	"context"
	"sync"
)

// rounds lets all who ask for the same thing at a time share one answer that
// was begun after the last of them asked: one round is under way at most, and
// whoever comes meanwhile shares the next.
type rounds struct {
	m   *Member
	run func(context.Context) (uint64, error) // ctx ends when nobody waits any more

	mu   sync.Mutex
	next *round // not begun; nil while nobody waits for one
	busy bool   // a goroutine runs rounds until next is nil
}

type round struct {
	ctx     context.Context
	cancel  context.CancelFunc
	waiting int // guarded by rounds.mu
	done    chan struct{}
	value   uint64 // set before done is closed, as is err
	err     error
}

// do returns the answer of a round that begins after the call.
func (r *rounds) do(ctx context.Context) (uint64, error) {
	x, err := r.join()
	if err != nil {
		return 0, err
	}
	defer r.leave(x)
	select {
	case <-x.done:
		return x.value, x.err
	case <-r.m.closing:
		return 0, ErrClosed
	case <-r.m.failed:
		return 0, r.m.Err()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

func (r *rounds) join() (*round, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		x := &round{done: make(chan struct{})}
		x.ctx, x.cancel = context.WithCancel(context.Background())
		r.next = x
	}
	if !r.busy {
		if !r.m.spawn(r.loop) {
			r.next.cancel()
			r.next = nil
			return nil, ErrClosed
		}
		r.busy = true
	}
	r.next.waiting++
	return r.next, nil
}

func (r *rounds) leave(x *round) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if x.waiting--; x.waiting == 0 {
		x.cancel()
		if r.next == x {
			r.next = nil
		}
	}
}

func (r *rounds) loop() {
	for {
		r.mu.Lock()
		x := r.next
		r.next = nil
		r.busy = x != nil
		r.mu.Unlock()
		if x == nil {
			return
		}
		x.value, x.err = r.run(x.ctx)
		close(x.done)
	}
}
