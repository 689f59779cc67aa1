package segment

import (
	"sort"
	"sync"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// Open is a chain that is not sealed, as far as it is durable: its Writer, or a
// Follower. Safe for concurrent use. What it returns is shared and must not be
// changed.
type Open interface {
	// Rows returns up to most rows of a stay, from the one that holds from on,
	// of what is in no committed cut; none if from lies before that, or is not
	// durable.
	Rows(k Stay, from fragment.LSN, most int) []fragment.Row
	// Cuts are the committed cuts. What was in no cut when Rows was called is
	// in the open part, or in one of these.
	Cuts() []Cut
	// State is where a log stands at the durable end of the chain, as far as
	// what is in no committed cut tells, at least; false if that tells nothing
	// of it. See Reader.State.
	State(log fragment.LogID) (fragment.LogState, bool)
}

// Rows implements Open.
func (w *Writer) Rows(k Stay, from fragment.LSN, most int) []fragment.Row {
	return w.segment.rows(stay{k.Log, k.Attachment}, from, most)
}

// Cuts implements Open.
func (w *Writer) Cuts() []Cut { return w.segment.committedCuts() }

// State implements Open. A Writer knows every log that it ever held.
func (w *Writer) State(log fragment.LogID) (fragment.LogState, bool) { return w.segment.state(log) }

// openSegment is the index of what is durable of the chain but in no
// committed cut yet. Its parts change hands instead of being copied, so that
// a cut holds nobody up: fresh takes what comes; at a cut it becomes cutting,
// which nobody changes any more.
type openSegment struct {
	mu      sync.RWMutex
	fresh   *tally
	cutting *tally                               // being cut; nil if none
	planned *fragment.Index                      // what its index object holds; set once
	after   map[fragment.LogID]fragment.LogState // states of all logs behind it; set with planned
	working chan struct{}                        // closed when the one who works on the cut stops; nil if nobody does
	base    map[fragment.LogID]fragment.LogState // states of all logs at the last cut
	cuts    []Cut                                // committed by this writer
	ranks   []uint8                              // how often each of cuts was merged; see mergeRun
	begun   time.Time                            // when fresh began

	opened time.Time          // when the chain was
	feeds  map[*feed]struct{} // get what changes from now on
}

func (s *openSegment) init(from uint64, at time.Time) {
	s.fresh, s.begun, s.opened = newTally(from), at, at
	s.base = make(map[fragment.LogID]fragment.LogState)
	s.feeds = make(map[*feed]struct{})
}

func (s *openSegment) add(f *fragment.Frozen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fresh.add(f.Head.N, f.Directory)
	s.tellLocked(func(at uint64) [][]byte { return fragmentMessage(at, f) })
}

// due says whether it is time for a cut.
func (s *openSegment) due(o *Options) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.fresh
	return s.working == nil && (s.cutting != nil || t.to > t.from &&
		(t.bytes >= o.CutBytes || t.to-t.from >= o.CutFragments || t.slices >= o.CutSlices || time.Since(s.begun) >= o.CutAge))
}

// from and to are the numbers of the objects in it, [from, to).
func (s *openSegment) from() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.cutting != nil {
		return s.cutting.from
	}
	return s.fresh.from
}

func (s *openSegment) to() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.fresh.to
}

// rotate begins a cut, or takes up one that was given up; its caller must
// release it. nil if there is nothing to cut, or, with a channel that is closed
// then, until another has released it.
func (s *openSegment) rotate() (t *tally, busy <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.working != nil {
		return nil, s.working
	}
	if s.cutting == nil {
		if s.fresh.to == s.fresh.from {
			return nil, nil
		}
		s.cutting, s.fresh, s.begun = s.fresh, newTally(s.fresh.to), time.Now()
	}
	s.working = make(chan struct{})
	return s.cutting, nil
}

func (s *openSegment) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.working)
	s.working = nil
}

// plan says what the index object of the cut holds, and the states of all logs
// behind it. Only who rotated calls it; readers go on meanwhile.
func (s *openSegment) plan() (*fragment.Index, map[fragment.LogID]fragment.LogState) {
	if s.planned == nil {
		after := mergeStates(s.base, s.cutting.states)
		expire(after)
		x := s.cutting.index()
		x.States = (&tally{states: after}).index().States
		s.planned, s.after = x, after
	}
	return s.planned, s.after
}

func mergeStates(base, later map[fragment.LogID]fragment.LogState) map[fragment.LogID]fragment.LogState {
	all := make(map[fragment.LogID]fragment.LogState, len(base)+len(later))
	for id, st := range base {
		all[id] = st
	}
	for id, st := range later {
		if have, ok := all[id]; ok {
			st = have.Merge(st)
		}
		all[id] = st
	}
	return all
}

// committed ends a cut: its slices are found through its index from now on.
func (s *openSegment) committed(c Cut, states map[fragment.LogID]fragment.LogState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutting, s.planned, s.after, s.base = nil, nil, nil, states
	s.cuts, s.ranks = append(s.cuts, c), append(s.ranks, 0)
	s.tellLocked(func(at uint64) [][]byte { return frames(feedCut, appendCut(appendNumbers(nil, at), c)) })
}

func (s *openSegment) committedCuts() []Cut {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cuts
}

// state is where a log stands behind all that is here.
func (s *openSegment) state(log fragment.LogID) (fragment.LogState, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all, found := s.base[log]
	for _, t := range []*tally{s.cutting, s.fresh} {
		if t == nil {
			continue
		}
		switch st, ok := t.states[log]; {
		case ok && found:
			all = all.Merge(st)
		case ok:
			all, found = st, true
		}
	}
	return all, found
}

// rows returns up to most rows of a stay, from the one that holds lsn on; none
// if lsn lies before the open segment, or past what is durable.
func (s *openSegment) rows(k stay, lsn fragment.LSN, most int) []fragment.Row {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var found []fragment.Row
	for _, t := range []*tally{s.cutting, s.fresh} {
		if t == nil || len(found) == most {
			continue
		}
		rows := t.rows[k]
		if len(rows) == 0 || rows[0].First > lsn {
			continue
		}
		more := rowsFrom(rows, lsn, most-len(found))
		if len(more) > 0 {
			found = append(found[:len(found):len(found)], more...)
			lsn = found[len(found)-1].End()
		}
	}
	return found
}

// rowsFrom returns up to most rows, from the first that ends behind lsn on.
func rowsFrom(rows []fragment.Row, lsn fragment.LSN, most int) []fragment.Row {
	i := sort.Search(len(rows), func(i int) bool { return rows[i].End() > lsn })
	return rows[i:min(len(rows), i+most)]
}
