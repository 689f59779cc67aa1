package tamper

import (
	"context"
	"net/http"
	"strings"
)

// Rule is a fault in force.
type Rule struct {
	p       *Proxy
	fault   Fault
	release chan struct{}

	// What follows is guarded by p.mu.
	seen    int // matching requests
	taken   int // by the fault; hits <= taken, as some turn out to be none of its kind
	count   Count
	waiting int  // requests that are held, or being applied late
	open    bool // release is closed
	removed bool
}

// Name is what the fault is counted under.
func (r *Rule) Name() string { return r.fault.Name }

// Count tells how often the fault took effect, so that a test can prove that it
// did.
func (r *Rule) Count() Count {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	return r.count
}

// Waiting counts the requests and answers that are held now.
func (r *Rule) Waiting() int {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	return r.waiting
}

// Wait blocks until the fault has hit n requests, or ctx ends.
func (r *Rule) Wait(ctx context.Context, n int) error {
	return r.Await(ctx, func(c Count) bool { return c.Hits >= n })
}

// Await blocks until enough of the fault took effect, or ctx ends. enough must
// not use the proxy.
func (r *Rule) Await(ctx context.Context, enough func(c Count) bool) error {
	return r.p.until(ctx, func() bool { return enough(r.count) })
}

// Release lets all go on that is held, and returns when the server has answered
// what was late. Later requests that match are not held any more.
func (r *Rule) Release() {
	r.p.mu.Lock()
	if !r.open {
		r.open = true
		close(r.release)
	}
	r.p.mu.Unlock()
	_ = r.p.until(context.Background(), func() bool { return r.waiting == 0 }) // no end but that
}

// Remove takes the fault out of force; what it holds stays held until Release.
func (r *Rule) Remove() {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	r.removed = true
	r.p.sweepLocked()
}

// takesLocked says whether the fault is done to a request, which counts.
func (r *Rule) takesLocked(kind Kind, subject string, req *http.Request) bool {
	f := &r.fault
	switch {
	case r.removed,
		f.Count > 0 && r.taken >= f.Count,
		f.Kind != Any && f.Kind != kind,
		!strings.Contains(subject, f.Key),
		f.Match != nil && !f.Match(req):
		return false
	}
	r.seen++
	if r.seen <= f.Skip || f.Chance > 0 && r.p.drawLocked() >= f.Chance {
		return false
	}
	r.taken++
	return true
}

// did counts that the fault took effect.
func (r *Rule) did(what func(c *Count)) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	what(&r.count)
	c := r.p.counts[r.fault.Name]
	what(&c)
	r.p.counts[r.fault.Name] = c
	r.p.changedLocked()
}

func (r *Rule) hold(n int) {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	r.waiting += n
	r.p.changedLocked()
}

func hit(c *Count)       { c.Hits++ }
func applied(c *Count)   { c.Applied++ }
func givenUp(c *Count)   { c.GivenUp++ }
func overtaken(c *Count) { c.Overtaken++ }
