package offline

import (
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
)

// span is a run of objects of a chain that hold something of a log, or may.
type span struct {
	from, to uint64
	first    fragment.LSN // the log stands here before it
}

// spanObjects is how long a span grows, and how much it may leap over. With
// it, a walk for a log skips what is far from it, and a span is needed for
// every so many objects only.
const spanObjects = 64

// touch adds an object to the spans.
func (st *stand) touch(n uint64, first fragment.LSN) {
	if k := len(st.spans) - 1; k >= 0 {
		s := &st.spans[k]
		if n < s.to {
			return
		}
		if n < s.to+spanObjects && n < s.from+spanObjects {
			s.to = n + 1
			return
		}
	}
	st.spans = append(st.spans, span{n, n + 1, first})
}

// surveyor finds out where in a chain which log is. It is the sink of a ledger
// that is fed with directories.
type surveyor struct {
	places map[fragment.Attachment]*place
}

// see notes which logs an object holds something of. It comes after the
// object is in the ledger.
func (s *surveyor) see(g *ledger, x *segment.Scanned) {
	if x.Damage != nil || x.Kind != fragment.KindFragment {
		return
	}
	for i, a := range x.Directory.Attached {
		if p := s.place(g.stays[a.Attachment]); p != nil && p.attached == nil {
			p.attached, p.first = &x.Directory.Attached[i], a.First
		}
	}
	for _, c := range x.Directory.Slices {
		if st := g.stays[c.Attachment]; st != nil {
			st.touch(x.N, c.First)
		}
	}
}

func (s *surveyor) place(st *stand) *place {
	if st == nil {
		return nil
	}
	p := s.places[st.attachment]
	if p == nil {
		p = &place{stand: st}
		s.places[st.attachment] = p
	}
	return p
}

func (s *surveyor) batches(st *stand, n uint64, all []fragment.Batch) {
	if len(all) > 0 { // salvaged
		st.touch(n, all[0].From())
	}
}

func (s *surveyor) lost(st *stand, from, _ fragment.LSN, at []*loss) {
	for _, l := range at {
		st.touchAll(l, from)
	}
}

func (s *surveyor) double(*stand, uint64, fragment.LSN, fragment.LSN) {}

// touchAll adds places whose content is lost.
func (st *stand) touchAll(l *loss, first fragment.LSN) {
	for n := l.n; n < l.n+l.count; n++ {
		st.touch(n, first)
	}
}

// finish closes the books of a chain.
func (s *surveyor) finish(g *ledger, c *chain, closing *fragment.Index) []*place {
	if closing != nil {
		g.tellStates(closing)
		g.settle(0)
	}
	if len(g.losses) > 0 {
		c.lost = g.losses[0].n
	}
	var all []*place
	for _, st := range g.stays {
		p := s.place(st)
		p.chain = c
		for _, l := range g.losses {
			if l.n+l.count-1 > st.last {
				st.touchAll(l, st.next)
				p.missing = true
			}
		}
		if p.attached == nil {
			// Where it began is lost, with an object before the first that
			// is known to hold something of it.
			to := st.last + 1
			if len(st.spans) > 0 {
				to = st.spans[0].from
			}
			if from := firstLoss(g, to); from < to {
				p.spans = append([]span{{from, to, 1}}, st.spans...)
			}
		}
		all = append(all, p)
	}
	return all
}

// firstLoss is the first place before object n whose content was not known
// when it was passed; n if there is none.
func firstLoss(g *ledger, n uint64) uint64 {
	for _, l := range g.all {
		if l.n > 0 && l.n < n {
			return l.n
		}
	}
	return n
}
