package wal

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/offline"
)

// scrubKeep is how many problems are kept; the others are counted only. A store
// that has lost more needs no list, but wpd verify.
const scrubKeep = 100

// problemKey is what makes a problem the same in two passes.
type problemKey struct {
	object string
	log    fragment.LogID
	from   fragment.LSN
}

func keyOf(p *offline.Problem) problemKey { return problemKey{p.Object, p.Log, p.From} }

// scrubProgress is what others see of the scrub. A problem is shown from when
// it is found until a whole pass has not found it.
type scrubProgress struct {
	mu    sync.Mutex
	now   Scrub // without problems
	known map[problemKey]*knownProblem

	// Of this pass, and of the one before.
	more, moreBefore       uint64 // problems that are not kept
	skipped, skippedBefore uint64 // as in Scrub
	gauge                  *prometheus.GaugeVec
}

type knownProblem struct {
	ScrubProblem
	seen bool // in the pass under way
}

func newScrubProgress() *scrubProgress {
	return &scrubProgress{known: make(map[problemKey]*knownProblem), gauge: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "wpd_wal_scrub_problem",
		Help: "1 for each object that is damaged, missing or not ours; at most 100 of them. Any is an alarm: wpd verify says more, wpd inspect shows what is left of it.",
	}, []string{"object", "kind"})}
}

// found takes in problems.
func (x *scrubber) found(problems ...offline.Problem) {
	for _, p := range problems {
		if p.Kind == offline.KindNewer || !x.matters(&p) {
			continue // of a newer node's, which checks it itself; or nobody can read it any more
		}
		p.Object = strings.ToValidUTF8(p.Object, "\ufffd") // somebody else's key may be anything; metrics and the wire can't
		if x.progress.add(p) {
			x.s.cfg.Logger.Error("scrub: object is damaged, missing or not ours", "object", p.Object, "objects", max(p.Objects, 1), "kind", p.Kind,
				"log", p.Name, "from", p.From, "to", p.To, "detail", p.Detail)
		}
	}
}

// matters says whether what a problem is about can be read yet, and names its
// log.
func (x *scrubber) matters(p *offline.Problem) bool {
	if p.Log == 0 {
		return true
	}
	m, err := x.s.meta(p.Log)
	if err != nil {
		return false // deleted
	}
	p.Name = m.Name
	return p.To > m.First
}

// begin begins a pass over so many objects.
func (p *scrubProgress) begin(objects uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Began, p.now.Objects, p.now.ObjectsOf, p.now.Bytes = time.Now(), 0, objects, 0
	for _, k := range p.known {
		k.seen = false
	}
}

// looked takes in that so many objects were looked at.
func (p *scrubProgress) looked(objects uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Objects += objects
}

func (p *scrubProgress) read(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Bytes += uint64(bytes)
}

// skip takes in that something could not be read.
func (p *scrubProgress) skip() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.skipped++
}

// add takes in a problem, and says whether it is new.
func (p *scrubProgress) add(x offline.Problem) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.known[keyOf(&x)]
	switch {
	case k != nil:
		k.Problem, k.seen = x, true
		p.exportLocked()
		return false
	case len(p.known) == scrubKeep:
		p.more++
		return false
	}
	p.known[keyOf(&x)] = &knownProblem{ScrubProblem{x, time.Now()}, true}
	p.exportLocked()
	return true
}

// end ends a pass, and returns what was known before it, and is not found any
// more; nothing, if the pass did not see all.
func (p *scrubProgress) end() (gone []offline.Problem) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, k := range p.known {
		if !k.seen && p.skipped == 0 {
			gone = append(gone, k.Problem)
			delete(p.known, key)
		}
	}
	p.now.Passes++
	p.now.Ended = time.Now()
	p.moreBefore, p.more = p.more, 0
	p.skippedBefore, p.skipped = p.skipped, 0
	p.exportLocked()
	return gone
}

// exportLocked names what is kept in the metrics. There is one for each object,
// so that there are never more than scrubKeep.
func (p *scrubProgress) exportLocked() {
	p.gauge.Reset()
	for _, k := range p.known {
		p.gauge.WithLabelValues(k.Object, string(k.Kind)).Set(1)
	}
}
