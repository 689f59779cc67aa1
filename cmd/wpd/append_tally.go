package main

import (
	"errors"
	"sync"
	"time"

	"github.com/wpd-io/wpd"
)

// tally counts what became of the entries that were handed to a writer, and
// holds what is in flight. Safe for concurrent use.
type tally struct {
	wake chan struct{} // of whoever settles: flight or ended have changed

	mu     sync.Mutex // guards what follows
	flight []*flight  // in the order of the appends; only the last one grows
	ended  bool       // nothing more will be handed over
	counts
}

// counts are numbers of entries. Each that was handed over is in one of
// inFlight, stored, unknown and refused.
type counts struct {
	skipped  uint64 // stored by an earlier command, so not handed over
	inFlight uint64
	stored   uint64
	unknown  uint64 // of which nobody knows whether they are stored
	refused  uint64
	holes    bool // something is stored behind what is not

	bytes      int64     // of what is stored
	first, end wpd.LSN   // what is stored lies in [first, end); 0: nothing is, or the log has forgotten where
	changed    time.Time // when something was settled last, or went into flight after nothing had been there
	err        error     // the first, in the order of the appends
}

// flight is a run of entries that share a batch.
type flight struct {
	first *wpd.Pending // of the first of them
	count uint64
	bytes int64
}

func newTally() *tally { return &tally{wake: make(chan struct{}, 1)} }

// launch puts an entry into flight.
func (t *tally) launch(p *wpd.Pending, bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.flight)
	if n == 0 || t.flight[n-1].first.Done() != p.Done() {
		t.flight = append(t.flight, &flight{first: p})
		n++
		t.signal()
	}
	f := t.flight[n-1]
	f.count++
	f.bytes += int64(bytes)
	t.launchLocked(1)
}

// launchBatch puts n entries into flight whose outcome is given to settle.
func (t *tally) launchBatch(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.launchLocked(uint64(n))
}

func (t *tally) launchLocked(n uint64) {
	if t.inFlight == 0 {
		t.changed = time.Now()
	}
	t.inFlight += n
}

// finish says that nothing more will be handed over.
func (t *tally) finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.signal()
}

func (t *tally) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// oldest is the batch of the run that has been in flight for longest, nil if
// there is none; over says that there will be none any more.
func (t *tally) oldest() (p *wpd.Pending, over bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.flight) == 0 {
		return nil, t.ended
	}
	return t.flight[0].first, false
}

// land takes the oldest run out of flight, once it has an outcome.
func (t *tally) land() flight {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.flight[0]
	t.flight[0] = nil
	t.flight = t.flight[1:]
	return *f
}

// settle counts the outcome of n entries that were in flight. They stand at
// first, or, if that is 0, where the log has forgotten.
func (t *tally) settle(n uint64, bytes int64, first wpd.LSN, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inFlight -= n
	t.changed = time.Now()
	switch {
	case err == nil:
		t.stored += n
		t.bytes += bytes
		t.holes = t.holes || t.err != nil
		if first != 0 {
			t.end = first + wpd.LSN(n)
			if t.first == 0 {
				t.first = first
			}
		}
		return
	case errors.Is(err, wpd.ErrUncertain):
		t.unknown += n
	default:
		t.refused += n
	}
	t.failLocked(err)
}

// fail takes an error that is about no entry.
func (t *tally) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failLocked(err)
}

func (t *tally) failLocked(err error) {
	if t.err == nil {
		t.err = err
	}
}

// skip counts an entry that was stored before.
func (t *tally) skip() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.skipped++
}

func (t *tally) snapshot() counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}
