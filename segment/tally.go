package segment

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/wpd-io/wpd/fragment"
)

// tally gathers where slices are and how logs' states change over a run of
// objects [from, to). Sums, the open segment and seals are all made of it.
// Not safe for concurrent use.
type tally struct {
	from, to uint64
	rows     map[stay][]fragment.Row
	states   map[fragment.LogID]fragment.LogState
	slices   int
	bytes    int64
}

// stay is one stay of a log on a chain.
type stay struct {
	log        fragment.LogID
	attachment fragment.Attachment
}

func newTally(from uint64) *tally {
	return &tally{
		from: from, to: from,
		rows:   make(map[stay][]fragment.Row),
		states: make(map[fragment.LogID]fragment.LogState),
	}
}

// add takes in object n, which must come next.
func (t *tally) add(n uint64, d *fragment.Directory) {
	for _, s := range d.Slices {
		t.addRow(stay{s.Log, s.Attachment}, fragment.Row{
			N: n, Offset: s.Offset, Length: s.Length,
			First: s.First, Count: uint64(s.Count), TimeMin: s.TimeMin, TimeMax: s.TimeMax,
		})
	}
	t.addStates(d.States)
	t.to = n + 1
}

func (t *tally) addRow(k stay, r fragment.Row) {
	t.rows[k] = append(t.rows[k], r)
	t.slices++
	t.bytes += int64(r.Length)
}

func (t *tally) addStates(states []fragment.LogState) {
	for _, s := range states {
		if have, ok := t.states[s.Log]; ok {
			s = have.Merge(s)
		}
		t.states[s.Log] = s
	}
}

// addIndex takes in a sum, or whatever of it lies at to or later.
func (t *tally) addIndex(x *fragment.Index) {
	t.addRows(x, t.to)
	t.addStates(x.States)
	t.to = max(t.to, x.To)
}

// addRows takes in the rows of an index that lie in object from or later.
func (t *tally) addRows(x *fragment.Index, from uint64) {
	for _, l := range x.Logs {
		for _, r := range l.Rows {
			if r.N >= from {
				t.addRow(stay{l.Log, l.Attachment}, r)
			}
		}
	}
}

// fits says why a part of an index can't be what comes next: rows are in the
// order of their objects and LSNs.
func (t *tally) fits(x *fragment.Index) error {
	if x.From < t.from || x.From > t.to || x.To < t.to {
		return fmt.Errorf("objects [%d, %d) do not follow [%d, %d)", x.From, x.To, t.from, t.to)
	}
	for _, l := range x.Logs {
		if len(l.Rows) > 0 {
			if err := t.follows(stay{l.Log, l.Attachment}, l.Rows[0].N, l.Rows[0].First); err != nil {
				return err
			}
		}
	}
	return nil
}

// follows says why a stay can't go on in object n at an LSN.
func (t *tally) follows(k stay, n uint64, first fragment.LSN) error {
	have := t.rows[k]
	if len(have) == 0 {
		return nil
	}
	if last := have[len(have)-1]; n <= last.N || first < last.End() {
		return fmt.Errorf("object %d from LSN %d of log %d does not follow object %d up to LSN %d", n, first, k.log, last.N, last.End())
	}
	return nil
}

// dropBefore forgets the rows of objects before n. It leaves the states.
func (t *tally) dropBefore(n uint64) {
	for k, rows := range t.rows {
		i, _ := slices.BinarySearchFunc(rows, n, func(r fragment.Row, n uint64) int { return cmp.Compare(r.N, n) })
		for _, r := range rows[:i] {
			t.slices--
			t.bytes -= int64(r.Length)
		}
		switch {
		case i == len(rows):
			delete(t.rows, k)
		case i > 0:
			t.rows[k] = slices.Clone(rows[i:]) // or what is gone would stay with the array
		}
	}
	t.from = n
}

// clone is what it holds now, whatever is added to it later.
func (t *tally) clone() *tally {
	c := *t
	c.rows, c.states = maps.Clone(t.rows), maps.Clone(t.states)
	return &c
}

// encodedMax is how many bytes its index takes at most, about.
func (t *tally) encodedMax() int {
	n := 32*t.slices + 16*len(t.rows)
	for _, s := range t.states {
		n += 48
		for _, p := range s.Producers {
			n += 48 + len(p.Name) + 24*len(p.Batches)
		}
	}
	return n
}

// index puts it in the order of the format. It shares rows and states.
func (t *tally) index() *fragment.Index {
	x := &fragment.Index{From: t.from, To: t.to}
	for k, rows := range t.rows {
		x.Logs = append(x.Logs, fragment.IndexLog{Log: k.log, Attachment: k.attachment, Rows: rows})
	}
	slices.SortFunc(x.Logs, func(a, b fragment.IndexLog) int {
		return cmp.Or(cmp.Compare(a.Log, b.Log), cmp.Compare(a.Attachment, b.Attachment))
	})
	for _, id := range slices.Sorted(maps.Keys(t.states)) {
		x.States = append(x.States, t.states[id])
	}
	return x
}
