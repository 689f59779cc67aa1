package blobstore

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"
)

const (
	// hedgeWindow is how many of the last creates "recent" means; hedgeKnown is
	// how many there must be before one is called slow.
	hedgeWindow, hedgeKnown = 128, 20
	// hedgeQuantile of the recent creates, or more if fewer may be sent twice,
	// were faster than what counts as slow.
	hedgeQuantile = 0.95
	// hedgeSaved is how many second requests a quiet time may save up.
	hedgeSaved = 4
)

// hedges decides which creates are sent a second time. Small objects are not
// measured with large ones. Safe for concurrent use.
type hedges struct {
	share float64 // of creates, sent twice at most

	mu     sync.Mutex
	recent [3]recent // by hedgeClass
	saved  float64   // second requests that may be sent; at most hedgeSaved
}

// hedgeClass sorts by what the time of a request is made of: the way to the
// store, or the bytes.
func hedgeClass(bytes int64) int {
	switch {
	case bytes < 256<<10:
		return 0
	case bytes < 2<<20:
		return 1
	}
	return 2
}

// after is how long to wait for the first request; ok is false if too little is
// known, or there were too many second ones.
func (h *hedges) after(bytes int64) (wait time.Duration, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.saved = min(h.saved+h.share, hedgeSaved)
	wait, ok = h.recent[hedgeClass(bytes)].slow()
	return wait, ok && h.saved >= 1
}

// spend takes a second request from what is saved.
func (h *hedges) spend() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.saved < 1 {
		return false
	}
	h.saved--
	return true
}

func (h *hedges) note(bytes int64, took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recent[hedgeClass(bytes)].note(took, max(hedgeQuantile, 1-h.share))
}

// recent holds the times of the last creates.
type recent struct {
	took  [hedgeWindow]time.Duration // a ring
	noted int                        // in all
	p     time.Duration              // the quantile, as of the last multiple of 8
}

func (r *recent) note(took time.Duration, quantile float64) {
	r.took[r.noted%hedgeWindow] = took
	if r.noted++; r.noted == hedgeKnown || r.noted%8 == 0 {
		known := slices.Clone(r.took[:min(r.noted, hedgeWindow)])
		slices.Sort(known)
		r.p = known[int(float64(len(known))*quantile)]
	}
}

func (r *recent) slow() (time.Duration, bool) { return r.p, r.noted >= hedgeKnown }

// createHedged is one attempt of a create, that may be two requests: they send
// the same bytes, so it does not matter which of them is stored, and the one
// that finds the other's object there finds our own.
func (b *Bucket) createHedged(ctx context.Context, key string, parts [][]byte) error {
	n, start := size(parts), time.Now()
	wait, ok := b.hedges.after(n)
	var err error
	if ok {
		err = b.createTwice(ctx, wait, key, parts)
	} else {
		err = b.raw.Create(ctx, key, parts)
	}
	if err == nil {
		b.hedges.note(n, time.Since(start))
	}
	return err
}

// createTwice sends a second request if the first takes longer than wait. When
// one has settled the matter, the other is given up, and has ended on return.
func (b *Bucket) createTwice(ctx context.Context, wait time.Duration, key string, parts [][]byte) error {
	var sending sync.WaitGroup
	defer sending.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		who string
		err error
	}
	results := make(chan result, 2)
	sending.Go(func() { results <- result{"first", b.raw.Create(ctx, key, parts)} })
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case r := <-results:
		return r.err
	case <-timer.C:
	}
	s, ok := b.writes.tryAcquire()
	if !ok {
		return (<-results).err
	}
	if !b.hedges.spend() {
		s.release(verdictNone)
		return (<-results).err
	}
	sending.Go(func() {
		start := time.Now()
		err := b.raw.Create(ctx, key, parts)
		s.release(judge(err, false))
		b.metrics.done(opCreate, err, time.Since(start))
		results <- result{"second", err}
	})
	won := <-results
	if !settles(won.err) {
		// A failure says nothing while the other may still succeed.
		if other := <-results; settles(other.err) {
			won = other
		}
	}
	if won.err != nil {
		won.who = "neither"
	}
	b.metrics.hedges.WithLabelValues(won.who).Inc()
	return won.err
}

// settles reports whether an attempt's answer needs no other: it is there,
// whoever's it is.
func settles(err error) bool { return err == nil || errors.Is(err, fs.ErrExist) }
