package wal

import (
	"context"
	"sync"

	"github.com/wpd-io/wpd/wal/api"
)

// rounds lets all who ask for something at a time share it: each gets the
// outcome of a round that began after it asked. The zero value is ready.
type rounds[T any] struct {
	mu   sync.Mutex
	next *round[T] // of those that asked since the last one began
	busy bool      // one is under way
}

type round[T any] struct {
	done chan struct{}
	v    T
	err  error
}

// do has s do f, or shares what comes of it. It returns when ctx ends, but a round
// goes on. Errors: those of f; the context's; api.ErrClosed.
func (r *rounds[T]) do(ctx context.Context, s *Service, f func() (T, error)) (T, error) {
	var none T
	r.mu.Lock()
	if r.next == nil {
		r.next = &round[T]{done: make(chan struct{})}
	}
	x := r.next
	if !r.busy {
		if !s.spawn(func() { r.run(f) }) {
			r.next = nil
			r.mu.Unlock()
			return none, api.ErrClosed
		}
		r.busy = true
	}
	r.mu.Unlock()
	select {
	case <-x.done:
		return x.v, x.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// run makes one round after another, as long as somebody asks.
func (r *rounds[T]) run(f func() (T, error)) {
	for {
		r.mu.Lock()
		x := r.next
		r.next, r.busy = nil, x != nil
		r.mu.Unlock()
		if x == nil {
			return
		}
		x.v, x.err = f()
		close(x.done)
	}
}
