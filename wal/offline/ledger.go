package offline

import (
	"errors"
	"io/fs"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
)

// lostUnknown is how many LSNs are called lost where nothing tells how many
// there were: as many as a sealer gives up then.
const lostUnknown = 1 << 32

// stand is how far a log is known on a chain, under one attachment.
type stand struct {
	log        fragment.LogID
	attachment fragment.Attachment
	next       fragment.LSN // the LSN that comes next; 0: nothing is known yet
	limit      fragment.LSN // where the next extent begins; 0: there is none
	last       uint64       // all up to this object is accounted for
	spans      []span       // where in the chain the log is; of a survey
	attached   bool         // its Attached record was read
}

// loss is a place, or a run of places, whose content is not known.
type loss struct {
	n, count uint64
	key      string // of the first
	err      error
	settled  bool // it is known what it held
	named    bool // a lost range was put down to it
}

// problem is that of a loss that no lost range was put down to.
func (l *loss) problem() Problem {
	p := Problem{Kind: kindOf(l.err), Object: l.key, Objects: l.count, Detail: reason(l.err)}
	switch {
	case !l.settled:
		p.Detail += "; nothing tells what it held"
	case p.Kind != KindNewer:
		p.Detail += "; no entry is lost with it"
	}
	return p
}

// sink takes what a ledger finds out, in order.
type sink interface {
	// batches are the next of a stay, from object n.
	batches(st *stand, n uint64, all []fragment.Batch)
	// lost: entries [from, to) of a stay can't be read; at are the places
	// that may have held them, none if no place is damaged.
	lost(st *stand, from, to fragment.LSN, at []*loss)
	// double: object n holds [from, to) of a stay, which was there before, or
	// belongs to a later extent.
	double(st *stand, n uint64, from, to fragment.LSN)
}

// ledger accounts for the LSNs of a chain, object by object.
type ledger struct {
	sink   sink
	stays  map[fragment.Attachment]*stand
	only   fragment.Attachment // 0: all
	losses []*loss             // whose content nothing has told in full yet
	all    []*loss             // all of the chain, in order
}

func newLedger(s sink) *ledger {
	return &ledger{sink: s, stays: make(map[fragment.Attachment]*stand)}
}

// logOf says whose an attachment is.
func (g *ledger) logOf(a fragment.Attachment) (fragment.LogID, bool) {
	if st := g.stays[a]; st != nil {
		return st.log, true
	}
	return 0, false
}

// stay returns the stand of an attachment; nil if it is of no interest.
func (g *ledger) stay(log fragment.LogID, a fragment.Attachment) *stand {
	st := g.stays[a]
	if st == nil && g.only == 0 {
		st = &stand{log: log, attachment: a}
		g.stays[a] = st
	}
	if st == nil || st.log != log {
		return nil
	}
	return st
}

// good takes in a fragment whose directory was read. contents are its slices.
func (g *ledger) good(x *segment.Scanned, contents []segment.Content) {
	d := x.Directory
	for _, e := range d.PrevEnds {
		g.tell(e.Log, e.Attachment, e.LSN, x.N-1)
	}
	for _, a := range d.Attached {
		if st := g.stay(a.Log, a.Attachment); st != nil {
			st.attached = true
			if st.next == 0 {
				st.next = a.First
			}
		}
	}
	for _, c := range contents {
		g.content(x, c)
	}
	for _, s := range d.States {
		g.tell(s.Log, s.Attachment, s.End, x.N)
	}
	if d.Index != nil {
		g.tellStates(d.Index)
		g.settle(d.Index.From)
	} else if len(g.losses) == 1 && g.losses[0].count == 1 && g.losses[0].n == x.N-1 {
		g.settle(x.N - 1) // the ends of the one before were all there is to know
	}
}

// content takes in a slice: its batches, and what is missing between them.
func (g *ledger) content(x *segment.Scanned, c segment.Content) {
	st := g.stay(c.Log, c.Attachment)
	if st == nil {
		return
	}
	g.tellStand(st, c.First, x.N-1)
	var at []*loss
	if c.Err != nil {
		at = []*loss{g.damage(x, c.Err, true)}
	}
	if c.First < st.next {
		g.sink.double(st, x.N, c.First, min(c.End(), st.next))
	}
	if st.limit != 0 && c.End() > st.limit {
		g.sink.double(st, x.N, max(c.First, st.limit), c.End())
	}
	damage := c.Damage
	lose := func(before fragment.LSN) {
		for len(damage) > 0 && damage[0].From < before {
			if from := max(damage[0].From, st.next); from < damage[0].To {
				g.sink.lost(st, from, damage[0].To, at)
			}
			damage = damage[1:]
		}
	}
	if c.Damage == nil && c.First >= st.next && st.within(c.End()) {
		if len(c.Batches) > 0 {
			g.sink.batches(st, x.N, c.Batches)
		}
	} else {
		for i, b := range c.Batches {
			lose(b.From())
			if b.From() >= st.next && st.within(b.To()) {
				g.sink.batches(st, x.N, c.Batches[i:i+1])
			}
		}
		lose(c.End())
	}
	st.next, st.last = max(st.next, c.End()), x.N
}

// within says whether a batch that ends at to belongs to the extent.
func (st *stand) within(to fragment.LSN) bool { return st.limit == 0 || to <= st.limit }

// salvaged takes in what was found in an object without a directory.
func (g *ledger) salvaged(x *segment.Scanned, s segment.Salvaged, l *loss) {
	for a, batches := range s.Batches {
		st := g.stays[a]
		for i, b := range batches {
			if st == nil || b.From() < st.next || st.next == 0 || !st.within(b.To()) {
				continue
			}
			g.tellStand(st, b.From(), x.N-1)
			g.sink.batches(st, x.N, batches[i:i+1])
			st.next = b.To()
		}
	}
	l.settled = s.Complete
	if s.Complete {
		g.drop(func(have *loss) bool { return have == l })
	}
}

// damage notes that a place can't be used. settled says that it is known all
// the same what it held.
func (g *ledger) damage(x *segment.Scanned, err error, settled bool) *loss {
	missing := errors.Is(err, fs.ErrNotExist)
	if k := len(g.all) - 1; k >= 0 && g.all[k].n+g.all[k].count-1 == x.N && !missing {
		return g.all[k] // another slice of the same object
	} else if k >= 0 && missing && g.all[k].n+g.all[k].count == x.N && errors.Is(g.all[k].err, fs.ErrNotExist) && !g.all[k].settled {
		g.all[k].count++
		return g.all[k]
	}
	l := &loss{n: x.N, count: 1, key: x.Key, err: err, settled: settled}
	g.all = append(g.all, l)
	if !settled {
		g.losses = append(g.losses, l)
	}
	return l
}

// tell says that a stay was at lsn at the end of object n: what is not
// accounted for before that is lost.
func (g *ledger) tell(log fragment.LogID, a fragment.Attachment, lsn fragment.LSN, n uint64) {
	if st := g.stay(log, a); st != nil {
		g.tellStand(st, lsn, n)
	}
}

func (g *ledger) tellStand(st *stand, lsn fragment.LSN, n uint64) {
	switch {
	case st.next == 0:
		st.next = lsn
	case lsn > st.next:
		var at []*loss
		for _, l := range g.losses {
			if l.n+l.count-1 > st.last {
				at = append(at, l)
			}
		}
		g.sink.lost(st, st.next, lsn, at)
		st.next = lsn
	}
	st.last = max(st.last, n)
}

// tellStates says where all logs that an index speaks of stand at its end.
func (g *ledger) tellStates(x *fragment.Index) {
	for _, s := range x.States {
		g.tell(s.Log, s.Attachment, s.End, x.To-1)
	}
}

// settle forgets the losses from object n on: all that they held is known.
func (g *ledger) settle(n uint64) {
	g.drop(func(l *loss) bool {
		l.settled = l.settled || l.n >= n
		return l.n >= n
	})
}

func (g *ledger) drop(which func(*loss) bool) {
	kept := g.losses[:0]
	for _, l := range g.losses {
		if !which(l) {
			kept = append(kept, l)
		}
	}
	g.losses = kept
}

// damaged says whether nothing is known of object n by its own directory.
func (g *ledger) damaged(n uint64) bool {
	for i := len(g.all) - 1; i >= 0 && g.all[i].n+g.all[i].count > n; i-- {
		if g.all[i].n <= n {
			return true
		}
	}
	return false
}
