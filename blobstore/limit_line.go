package blobstore

import (
	"errors"
	"fmt"
	"slices"
)

// waiter is a request that waits for its turn.
type waiter struct {
	ready    chan struct{} // closed under mu, once it is counted as in flight
	inFlight int64         // with it, then
}

// enter counts a request as in flight, and says how many there are with it; or
// puts it into line, if it may wait, and returns what it waits on.
func (l *limiter) enter(wait bool) (inFlight int64, w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.on.Load() || len(l.waiting) == 0 && l.roomLocked() {
		return l.inFlight.Add(1), nil
	}
	w = &waiter{ready: make(chan struct{})}
	if wait {
		l.waiting = append(l.waiting, w)
		l.waits.Inc()
	}
	return 0, w
}

// leave takes one out of line. It may have got its turn just now: the next has it.
func (l *limiter) leave(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.waiting, w); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
		return
	}
	l.inFlight.Add(-1)
	l.nextLocked()
}

func (l *limiter) roomLocked() bool { return l.inFlight.Load() < int64(l.limit) }

// nextLocked gives those in line their turn, as far as there is room.
func (l *limiter) nextLocked() {
	n := 0
	for n < len(l.waiting) && (!l.on.Load() || l.roomLocked()) {
		w := l.waiting[n]
		w.inFlight = l.inFlight.Add(1)
		close(w.ready)
		n++
	}
	l.waiting = slices.Delete(l.waiting, 0, n)
}

// notSentError is returned for a request whose turn did not come before its
// context ended.
type notSentError struct{ cause error }

func (e *notSentError) Error() string {
	return fmt.Sprintf("nothing was sent, the store takes no more requests at once: %v", e.cause)
}

func (e *notSentError) Unwrap() error { return e.cause }

func notSent(err error) bool {
	_, ok := errors.AsType[*notSentError](err)
	return ok
}
