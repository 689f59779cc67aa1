package wpd

import (
	"context"
	"sync"
)

// room is a budget of bytes, given out in the order of the calls. Safe for
// concurrent use.
type room struct {
	limit int

	mu      sync.Mutex // guards what follows
	used    int
	waiting []*waiter
}

// waiter is a call that waits for room.
type waiter struct {
	bytes   int
	granted bool          // guarded by room.mu
	ready   chan struct{} // closed when granted
}

// acquire takes bytes, waiting for them until ctx ends or stopped is closed:
// then it returns ctx.Err() or ErrClosed, and has taken nothing.
func (r *room) acquire(ctx context.Context, stopped <-chan struct{}, bytes int) error {
	r.mu.Lock()
	if len(r.waiting) == 0 && r.fits(bytes) {
		r.used += bytes
		r.mu.Unlock()
		return nil
	}
	w := &waiter{bytes: bytes, ready: make(chan struct{})}
	r.waiting = append(r.waiting, w)
	r.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		r.leave(w)
		return ctx.Err()
	case <-stopped:
		r.leave(w)
		return ErrClosed
	}
}

// free gives bytes back.
func (r *room) free(bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= bytes
	r.grantLocked()
}

// taken is how many bytes are taken.
func (r *room) taken() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used
}

// fits: what is over the limit by itself fits when nothing else is there.
func (r *room) fits(bytes int) bool { return r.used == 0 || r.used+bytes <= r.limit }

func (r *room) grantLocked() {
	for len(r.waiting) > 0 && r.fits(r.waiting[0].bytes) {
		w := r.waiting[0]
		r.used += w.bytes
		w.granted = true
		close(w.ready)
		r.waiting[0] = nil
		r.waiting = r.waiting[1:]
	}
}

// leave ends a wait, giving back what it was granted meanwhile.
func (r *room) leave(w *waiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w.granted {
		r.used -= w.bytes
	}
	for i, other := range r.waiting {
		if other == w {
			r.waiting = append(r.waiting[:i:i], r.waiting[i+1:]...)
			break
		}
	}
	r.grantLocked() // the next one may fit where this one did not
}
