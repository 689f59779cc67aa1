package wal

import (
	"cmp"
	"slices"
	"time"

	"github.com/wpd-io/wpd/wal/offline"
)

// ScrubProblem is an object that is damaged, missing or not ours, with, if that
// is known, the entries of one log that are lost with it.
type ScrubProblem struct {
	offline.Problem
	Since time.Time // when this process found it
}

// Scrub is how far the scrub of a node is, and what it knows to be wrong.
type Scrub struct {
	Off    bool   // nothing is scrubbed
	Passes uint64 // that have ended since the node was opened
	// Began is when the pass under way, or the last one, did, and Ended when the
	// last one that did ended; zero: none did.
	Began, Ended time.Time
	// Objects is how many of them the pass has looked at, ObjectsOf how many there
	// are to look at, about, and Bytes what it has read.
	Objects, ObjectsOf, Bytes uint64
	// Skipped is how many objects, and listings, could not be read in this pass or
	// the one before, as the store does not give them: that is no damage.
	Skipped uint64
	// Problems are those that are known, by object, log and LSN; at most 100.
	// ProblemsTotal counts all.
	Problems      []ScrubProblem
	ProblemsTotal uint64
}

// Scrub tells of the scrub of this node.
func (s *Service) Scrub() Scrub {
	p := s.scrub.progress
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.now
	x.Off = s.cfg.ScrubBytesPerSec < 0
	for _, k := range p.known {
		x.Problems = append(x.Problems, k.ScrubProblem)
	}
	slices.SortFunc(x.Problems, func(a, b ScrubProblem) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Log, b.Log), cmp.Compare(a.From, b.From))
	})
	x.ProblemsTotal = uint64(len(p.known)) + max(p.more, p.moreBefore)
	x.Skipped = max(p.skipped, p.skippedBefore)
	return x
}
