package blobstore

import (
	"errors"
	"fmt"
	"slices"
)

// waiter is a request that waits for its turn.
type waiter struct {
	ready chan struct{} // closed under mu, once it is counted as in flight
}

// enter counts a request as in flight, and returns nil; or puts it into line, if
// it may wait, and returns what it waits on.
func (l *limiter) enter(wait bool) *waiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.on.Load() || len(l.waiting) == 0 && l.roomLocked() {
		l.inFlight.Add(1)
		return nil
	}
	w := &waiter{ready: make(chan struct{})}
	if wait {
		l.waiting = append(l.waiting, w)
		l.waits.Inc()
	}
	return w
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
		l.inFlight.Add(1)
		close(l.waiting[n].ready)
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
