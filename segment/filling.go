package segment

import (
	"cmp"
	"slices"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// Waiter waits for something handed to a Writer to become durable.
type Waiter interface {
	// Settled is called once: with nil when it is durable, otherwise with
	// why its chain is over. It must not block, nor call the Writer.
	Settled(err error)
}

// filling is a fragment that takes batches. Guarded by Writer.mu until it is
// sent; then owned by the goroutine that sends it.
type filling struct {
	n        uint64
	since    time.Time // when the first thing came in
	lone     bool      // nothing else was on its way then, to the store or to us
	kept     bool      // for what is said to come, see flood
	builder  fragment.Builder
	attached []fragment.Attached
	logs     map[fragment.LogID]*touched
	waiters  []Waiter
	reserved int64
	extra    int // bytes of what is not batches, about

	directory *fragment.Directory // set by prepare, in order of n
	legacy    *legacy

	created bool // it is durable; guarded by Writer.mu
	frozen  fragment.Frozen
}

// legacy is what a fragment leaves to the next; nothing of its bytes.
type legacy struct {
	ready chan struct{} // closed once the rest is set
	ends  []fragment.End
	notes []fragment.LogState // what came with no batch, which the next repeats
	sum   *tally              // of the fragments since the last 64th
}

// touched is what one fragment changes in a log's state.
type touched struct {
	state     fragment.LogState
	producers map[fragment.ProducerID]*fragment.ProducerState
}

func newFilling(n uint64) *filling {
	return &filling{n: n, logs: make(map[fragment.LogID]*touched), legacy: &legacy{ready: make(chan struct{})}}
}

func (f *filling) empty() bool { return len(f.logs) == 0 }

func (f *filling) size() int { return f.builder.Len() + f.extra }

// other says whether the log is here under another attachment: a fragment
// holds one slice of a log, and so one attachment.
func (f *filling) other(id fragment.LogID, a fragment.Attachment) bool {
	t := f.logs[id]
	return t != nil && t.state.Attachment != a
}

func (f *filling) log(id fragment.LogID, a fragment.Attachment) *touched {
	t := f.logs[id]
	if t == nil {
		t = &touched{producers: make(map[fragment.ProducerID]*fragment.ProducerState)}
		t.state.Log, t.state.Attachment = id, a
		f.logs[id] = t
	}
	return t
}

func (t *touched) producer(id fragment.ProducerID) *fragment.ProducerState {
	p := t.producers[id]
	if p == nil {
		p = &fragment.ProducerState{ID: id}
		t.producers[id] = p
	}
	return p
}

func (f *filling) add(log fragment.LogID, b fragment.Batch) {
	f.builder.Add(log, b)
	t := f.log(log, b.Attachment())
	t.state.End, t.state.Time = b.To(), b.Time()
	t.producer(b.Producer()).Remember(b)
}

// note adds a state that comes with no batch: that of a log when it is
// attached, or a producer that was opened.
func (f *filling) note(s fragment.LogState) {
	f.legacy.notes = append(f.legacy.notes, s.Clone())
	t := f.log(s.Log, s.Attachment)
	t.state.End = max(t.state.End, s.End)
	t.state.Time = max(t.state.Time, s.Time)
	t.state.Dropped = max(t.state.Dropped, s.Dropped)
	for _, p := range s.Producers {
		have := t.producer(p.ID)
		if have.Epoch == 0 { // nothing of it yet
			*have = p
			have.Batches = slices.Clone(p.Batches)
			continue
		}
		// What it stored is here already.
		have.Name, have.Epoch = cmp.Or(p.Name, have.Name), max(have.Epoch, p.Epoch)
		have.Last, have.Lowest, have.Time = max(have.Last, p.Last), max(have.Lowest, p.Lowest), max(have.Time, p.Time)
	}
	f.extra += noteBytes(s)
}

// noteBytes is about how much a state takes in a directory.
func noteBytes(s fragment.LogState) int {
	n := 32
	for _, p := range s.Producers {
		n += 64 + len(p.Name) + 16*len(p.Batches)
	}
	return n
}

// states returns what the fragment changes, by log and producer.
func (f *filling) states() []fragment.LogState {
	states := make([]fragment.LogState, 0, len(f.logs))
	for _, t := range f.logs {
		for _, p := range t.producers {
			t.state.Producers = append(t.state.Producers, *p)
		}
		slices.SortFunc(t.state.Producers, func(a, b fragment.ProducerState) int { return cmp.Compare(a.ID, b.ID) })
		states = append(states, t.state)
	}
	slices.SortFunc(states, func(a, b fragment.LogState) int { return cmp.Compare(a.Log, b.Log) })
	return states
}

// prepare makes the parts of the directory that follow from what came before.
// It waits for the fragment before, so that sums and ends go on in order.
func (f *filling) prepare(prev *legacy) {
	l := f.legacy
	if prev != nil {
		<-prev.ready
		l.sum = prev.sum
	}
	defer close(l.ready)
	states := f.states()
	f.directory = &fragment.Directory{Attached: f.attached, States: states}
	if f.extra > notesBytesMax {
		l.notes = nil
	}
	for i := range l.notes { // they speak of where the log stands now
		t := f.logs[l.notes[i].Log]
		l.notes[i].End, l.notes[i].Time = t.state.End, t.state.Time
	}
	if prev != nil {
		f.directory.PrevEnds = prev.ends
		// A producer's name and raised epoch stand in a note only: the loss of
		// one fragment must not undo them.
		f.directory.States = mergeNotes(prev.notes, states)
	}
	slices.SortFunc(f.attached, func(a, b fragment.Attached) int { return cmp.Compare(a.Log, b.Log) })
	for _, s := range f.directory.States {
		l.ends = append(l.ends, fragment.End{Log: s.Log, Attachment: s.Attachment, LSN: s.End})
	}
	if l.sum == nil || f.n%fragment.SumEvery == 1 {
		l.sum = newTally(f.n)
	}
	f.builder.Layout(f.directory)
	l.sum.add(f.n, f.directory)
	if f.n%fragment.SumEvery == 0 && l.sum.encodedMax() <= sumBytesMax {
		f.directory.Index = l.sum.index()
	}
	f.logs = nil
}

// notesBytesMax bounds the notes that the next fragment repeats, for the same
// reason as sumBytesMax.
const notesBytesMax = 2 << 20

// sumBytesMax bounds a sum, so that a full fragment with one stays a single
// PUT. A larger one is left out; a walk then reads the 64 directories.
const sumBytesMax = 4 << 20

// mergeNotes puts what a later fragment changes on top of the notes of the one
// before, by log.
func mergeNotes(notes, later []fragment.LogState) []fragment.LogState {
	if len(notes) == 0 {
		return later
	}
	t := newTally(0)
	t.addStates(notes)
	t.addStates(later)
	return t.index().States
}
