package segment

import (
	"cmp"
	"slices"

	"github.com/wpd-io/wpd/fragment"
)

// lostUnknown is how many LSNs are given up where nothing tells how many a
// lost fragment held: more than any fragment can hold.
const lostUnknown = 1 << 32

// findings puts together what a walk finds in a chain, in order: where slices
// are, where logs stand, and which LSNs are lost with objects that are.
//
// Whichever way a walk came by them, it must end with the same index, to the
// byte: two sealers of one chain read it differently. So links are taken in by
// blocks, and a block that has a sum is taken in by it, even where its links
// were read: a sum also tells what those held that are lost by now.
type findings struct {
	epoch   fragment.Epoch
	tally   *tally
	stays   map[fragment.LogID]Stay // where a log is that nothing was seen of yet
	lost    []LostError
	at      uint64 // the number that comes next
	pending []link // of a block, the next that come

	run    uint64                  // so many objects right before tally.to are lost
	last   uint64                  // the last that is lost
	untold bool                    // what was lost may have held more than was told since
	told   map[fragment.LogID]bool // the logs whose part of it was told
}

func newFindings(e fragment.Epoch, from uint64, base *fragment.Index, attached []Stay) *findings {
	f := &findings{epoch: e, tally: newTally(from), stays: make(map[fragment.LogID]Stay), at: from}
	if base != nil {
		f.tally.addStates(base.States)
	}
	for _, s := range attached {
		f.stays[s.Log] = s
	}
	return f
}

// next is the number of the object that comes next.
func (f *findings) next() uint64 { return f.at }

// add takes in the next object. The one that ends a block and holds its sum
// may come without the others; what is lost right before the block is told by
// its first, so that one should come too then.
func (f *findings) add(l link) {
	if l.lost() {
		f.lost = append(f.lost, LostError{Object: fragment.ChainKey(f.epoch, l.n), Epoch: f.epoch, N: l.n})
	}
	f.pending = append(f.pending, l)
	f.at = l.n + 1
	if l.n%fragment.SumEvery == 0 {
		f.settle()
	}
}

// settle takes in what is pending.
func (f *findings) settle() {
	if len(f.pending) == 0 {
		return
	}
	if x := f.pending[len(f.pending)-1].sum(); x != nil {
		f.addSum(f.pending[0], x)
	} else {
		for _, l := range f.pending {
			f.addOne(l)
		}
	}
	f.pending = f.pending[:0]
}

func (f *findings) addOne(l link) {
	if l.lost() {
		f.run++
		f.last, f.tally.to = l.n, l.n+1
		return
	}
	d := l.directory
	f.resume(d.PrevEnds, true)
	if f.untold {
		for _, s := range d.Slices {
			f.tell(stay{s.Log, s.Attachment}, s.First)
		}
		f.tellStates(d.States)
	}
	f.tally.add(l.n, d)
}

// addSum takes in the sum of a block, whose first object may be first.
func (f *findings) addSum(first link, x *fragment.Index) {
	if first.n == f.tally.to && !first.lost() {
		f.resume(first.directory.PrevEnds, true)
	} else {
		f.resume(nil, false)
	}
	if f.untold {
		for _, l := range x.Logs {
			i := slices.IndexFunc(l.Rows, func(r fragment.Row) bool { return r.N >= f.tally.to })
			if i >= 0 {
				f.tell(stay{l.Log, l.Attachment}, l.Rows[i].First)
			}
		}
		f.tellStates(x.States)
	}
	f.tally.addIndex(x)
}

// resume goes on behind lost objects. Whoever follows one repeats where its
// slices ended, so that a single one is known to the entry. What more than one
// held, of logs that the last did not hold, only later objects tell.
func (f *findings) resume(prevEnds []fragment.End, known bool) {
	if f.run == 0 {
		return
	}
	if f.run > 1 || !known {
		f.untold, f.told = true, make(map[fragment.LogID]bool)
	}
	f.run = 0
	for _, e := range prevEnds {
		f.tell(stay{e.Log, e.Attachment}, e.LSN)
	}
}

// tellStates takes what states say of logs that have no slice beside them.
func (f *findings) tellStates(states []fragment.LogState) {
	for _, s := range states {
		if !f.told[s.Log] {
			f.tell(stay{s.Log, s.Attachment}, s.End)
		}
	}
}

// tell says that a log had entries up to an LSN, exclusive, when what follows
// was written: what lies between its known end and that is lost.
func (f *findings) tell(k stay, to fragment.LSN) {
	if to == 0 {
		return
	}
	if f.told != nil {
		f.told[k.log] = true
	}
	from, ok := f.end(k)
	if ok && from < to {
		f.tally.addRow(k, fragment.Row{N: max(f.last, f.tally.from), First: from, Count: uint64(to - from), Lost: true})
	}
	if !ok || from < to {
		f.tally.addStates([]fragment.LogState{{Log: k.log, Attachment: k.attachment, End: to}})
	}
}

// end is where a log's stay is known to end so far.
func (f *findings) end(k stay) (fragment.LSN, bool) {
	if s, ok := f.tally.states[k.log]; ok && s.Attachment == k.attachment {
		return s.End, true
	}
	if s, ok := f.stays[k.log]; ok && s.Attachment == k.attachment {
		return s.First, true
	}
	return 0, false
}

// carry goes on with what an earlier part of the chain left untold.
func (f *findings) carry(earlier *findings) {
	f.run, f.last, f.untold, f.told = earlier.run, earlier.last, earlier.untold, earlier.told
}

// index is what the chain held up to at.
func (f *findings) index(at uint64) *fragment.Index {
	f.settle()
	f.tally.to = at
	expire(f.tally.states)
	x := f.tally.index()
	for i := range x.Logs {
		slices.SortStableFunc(x.Logs[i].Rows, func(a, b fragment.Row) int { return cmp.Compare(a.First, b.First) })
	}
	return x
}

// giveUp ends the chain: of every log that is attached and that nothing told
// of since, LSNs are skipped. What was lost may have held entries of any of
// them, and no LSN is ever used twice.
func (f *findings) giveUp() {
	f.settle()
	f.resume(nil, false)
	if !f.untold {
		return
	}
	for _, s := range f.stays {
		if k := (stay{s.Log, s.Attachment}); !f.told[s.Log] {
			from, _ := f.end(k)
			f.tell(k, max(from, s.First)+lostUnknown)
		}
	}
}
