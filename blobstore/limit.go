package blobstore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// limitCut is what remains of a limit that proved too high.
	limitCut = 0.7
	// limitForget is how long a limit lasts that nobody needs.
	limitForget = time.Minute
)

// limiter bounds the requests of a kind in flight to a store that asks for
// fewer: one more per round of answers, three tenths fewer when it throttles or
// does not answer in time, and no bound as long as it does neither. So it stays
// just below what the store takes, which changes, and which nobody tells. What the
// store throttles however few there are does not count ([noise]).
type limiter struct {
	gauge   prometheus.Gauge
	waits   prometheus.Counter
	seconds prometheus.Counter

	inFlight atomic.Int64
	on       atomic.Bool   // there is a limit; changed under mu
	cuts     atomic.Uint64 // counts the cuts; changed under mu

	mu      sync.Mutex
	limit   float64 // requests in flight; at least 1
	was     float64 // in flight when the limit began
	cutAt   time.Time
	waiting []*waiter // in the order in which they came
	noise   noise
}

// slot is one request in flight. It must be released once.
type slot struct {
	l     *limiter
	cuts  uint64 // when it began
	alone bool   // nothing else was in flight then
}

// slot is that of a request which has just been counted as in flight, so many
// with it.
func (l *limiter) slot(inFlight int64) slot { return slot{l, l.cuts.Load(), inFlight == 1} }

// acquire waits, in line, until a request may be sent. It fails with the
// context's cause if that ends first.
func (l *limiter) acquire(ctx context.Context) (slot, error) {
	if !l.on.Load() {
		return l.slot(l.inFlight.Add(1)), nil
	}
	n, w := l.enter(true)
	if w == nil {
		return l.slot(n), nil
	}
	start := time.Now()
	defer func() { l.seconds.Add(time.Since(start).Seconds()) }()
	select {
	case <-w.ready:
		return l.slot(w.inFlight), nil
	case <-ctx.Done():
		l.leave(w)
		return slot{}, &notSentError{context.Cause(ctx)}
	}
}

// tryAcquire does not wait.
func (l *limiter) tryAcquire() (slot, bool) {
	n, w := l.enter(false)
	if w != nil {
		return slot{}, false
	}
	return l.slot(n), true
}

// verdict is what an answer says about the number of requests in flight.
type verdict int

const (
	verdictNone      verdict = iota // nothing
	verdictMore                     // it was answered: there may be more
	verdictThrottled                // there are to be fewer
	verdictLate                     // not answered in time: the same
)

// release ends a request.
func (s slot) release(v verdict) {
	l := s.l
	left := l.inFlight.Add(-1)
	if v <= verdictMore && !l.on.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	alone := s.alone && left == 0
	switch v {
	case verdictMore:
		l.noise.answered(alone)
		l.growLocked(float64(left + 1))
	case verdictThrottled, verdictLate:
		// What was sent before the last cut says nothing of the limit since.
		if s.cuts == l.cuts.Load() && (v == verdictLate || !l.noise.throttled(alone)) {
			l.cutLocked(float64(left + 1))
		}
	}
	l.nextLocked()
}

func (l *limiter) cutLocked(inFlight float64) {
	if l.on.Load() {
		inFlight = min(inFlight, l.limit)
	} else {
		l.was = inFlight
		l.on.Store(true)
	}
	l.limit = max(inFlight*limitCut, 1)
	l.cutAt = time.Now()
	l.cuts.Add(1)
	l.gauge.Set(l.limit)
}

// growLocked adds one request per round of them. One that is not used says
// nothing about more. There is no limit any more once nobody waits, and as many
// are let through as when it began, or the last cut was long ago. That is looked at
// when a request ends: without any the limit, and its gauge, stay as they were.
func (l *limiter) growLocked(inFlight float64) {
	if !l.on.Load() {
		return
	}
	if inFlight >= l.limit/2 {
		l.limit += 1 / l.limit
	}
	if len(l.waiting) == 0 && (l.limit >= l.was || time.Since(l.cutAt) >= limitForget) {
		l.on.Store(false)
		l.gauge.Set(0)
		return
	}
	l.gauge.Set(l.limit)
}
