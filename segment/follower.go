package segment

import (
	"slices"
	"sync"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// FollowerOptions say who is told of what a Follower learns. The functions are
// called in order, must not block, and must not call the Follower; nil: nobody
// is told.
type FollowerOptions struct {
	// Durable is called when stays are known to be durable up to some ends.
	Durable func(ends []fragment.End)
	// Reset is called when ends may have moved that Durable was not told of.
	Reset func()
}

// Follower is a chain that is not sealed, as far as it is known to be durable
// by somebody who does not write it. It learns of it by the feed of the chain's
// Writer (Begin, Take), and from the bucket (Walk): if objects 1..n are there
// and none is a seal, they are part of the chain for ever. Safe for concurrent
// use, but for Begin and Take, which belong to one goroutine.
type Follower struct {
	chain Chain
	opts  FollowerOptions
	feed  feedState // belongs to whoever takes

	walking chan struct{} // holds one while somebody walks

	mu     sync.RWMutex
	have   *followed
	known  bool      // have was complete once
	told   time.Time // have was all that was durable, by the feed
	walked time.Time // have was all that was durable, by what is in the bucket
	ended  bool      // the chain's end was found in the bucket
}

// followed is what is in no cut, and the cuts.
type followed struct {
	cuts  []Cut
	found *findings // whose tally holds the rest
	// last is the object that a state came with: what a cut holds is forgotten.
	last map[fragment.LogID]uint64
}

// NewFollower makes one that knows nothing but some committed cuts: all of
// them, up to some one.
func NewFollower(c Chain, cuts []Cut, o FollowerOptions) *Follower {
	if o.Durable == nil {
		o.Durable = func([]fragment.End) {}
	}
	if o.Reset == nil {
		o.Reset = func() {}
	}
	return &Follower{
		chain: c.valid(), opts: o, have: newFollowed(c.Epoch, cuts), walking: make(chan struct{}, 1),
	}
}

func newFollowed(e fragment.Epoch, cuts []Cut) *followed {
	return &followed{
		cuts: cuts, found: newFindings(e, cutsEnd(cuts), nil, nil), last: make(map[fragment.LogID]uint64),
	}
}

// cutsEnd is where the open part begins.
func cutsEnd(cuts []Cut) uint64 {
	if len(cuts) == 0 {
		return 1
	}
	return cuts[len(cuts)-1].To
}

// Rows implements Open.
func (f *Follower) Rows(k Stay, from fragment.LSN, most int) []fragment.Row {
	f.mu.RLock()
	defer f.mu.RUnlock()
	rows := f.have.found.tally.rows[stay{k.Log, k.Attachment}]
	if len(rows) == 0 || rows[0].First > from {
		return nil
	}
	return rowsFrom(rows, from, most)
}

// Cuts implements Open.
func (f *Follower) Cuts() []Cut {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.have.cuts
}

// State implements Open. What lies before the last cut, its index tells.
func (f *Follower) State(log fragment.LogID) (fragment.LogState, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	s, ok := f.have.found.tally.states[log]
	return s, ok
}

// Durable is how far the chain is known to be durable: objects 0..n are.
func (f *Follower) Durable() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.have.next() - 1
}

// Current says when what the Follower has was surely all that the chain held:
// as its writer said, and by what was in the bucket; zero: never. known says
// that it has what was durable at some time, at least.
func (f *Follower) Current() (told, walked time.Time, known bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.told, f.walked, f.known
}

// Ended says that the end of the chain was found: only its committed seal can
// tell more.
func (f *Follower) Ended() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.ended
}

// next is the number of the object that comes next.
func (h *followed) next() uint64 { return h.found.next() }

// take takes in the next object, and returns the ends that it tells.
func (h *followed) take(l link) []fragment.End {
	h.found.add(l)
	h.found.settle()
	if l.lost() {
		return nil
	}
	var ends []fragment.End
	states := l.directory.States
	if x := l.sum(); x != nil { // it may have come without those before it
		states = x.States
		for _, y := range x.Logs {
			if n := len(y.Rows); n > 0 {
				ends = append(ends, fragment.End{Log: y.Log, Attachment: y.Attachment, LSN: y.Rows[n-1].End()})
			}
		}
	} else {
		for _, s := range l.directory.Slices {
			ends = append(ends, fragment.End{Log: s.Log, Attachment: s.Attachment, LSN: s.End()})
		}
	}
	for _, s := range states {
		h.last[s.Log] = l.n
	}
	return ends
}

// add takes in a part of an index; the part before, if any, was of the same
// range or of the one before. Errors: it does not fit.
func (h *followed) add(x *fragment.Index) error {
	t := h.found.tally
	if err := t.fits(x); err != nil {
		return err
	}
	t.addRows(x, 0)
	t.addStates(x.States)
	for _, s := range x.States {
		h.last[s.Log] = x.To - 1
	}
	t.to, h.found.at = x.To, x.To
	return nil
}

// Committed says which cuts the metadata has: all of the chain up to some one.
// They may have become fewer and larger.
func (f *Follower) Committed(cuts []Cut) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h, end := f.have, cutsEnd(cuts)
	if end < cutsEnd(h.cuts) {
		for i, c := range h.cuts {
			if c.From == end {
				h.cuts = slices.Concat(cuts, h.cuts[i:])
			}
		}
		return
	}
	if h.cover(cuts) {
		f.opts.Reset()
	}
}

// cover takes in all cuts there are. What they hold is found through their
// indexes from now on. jumped says that they hold objects that were not known.
func (h *followed) cover(cuts []Cut) (jumped bool) {
	before, end := cutsEnd(h.cuts), cutsEnd(cuts)
	switch h.cuts = cuts; {
	case end > h.next():
		*h = *newFollowed(h.found.epoch, cuts)
		return true
	case end == before:
		return false
	}
	h.found.tally.dropBefore(end)
	for log, n := range h.last {
		if n < end {
			delete(h.last, log)
			delete(h.found.tally.states, log)
		}
	}
	return false
}
