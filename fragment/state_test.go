package fragment

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// stateModel is what a LogState means, kept in full: every batch, for ever.
type stateModel struct {
	state     LogState
	producers map[ProducerID]*producerModel
}

type producerModel struct {
	state ProducerState
	all   []StoredBatch
}

// event is one thing that a fragment does to a log's state.
type event struct {
	producer ProducerID
	batch    Batch         // stored, if not empty
	name     string        // opened under this name,
	epoch    ProducerEpoch // with this epoch
	dropped  ProducerID
}

func (m *stateModel) apply(e event) {
	p := m.producers[e.producer]
	if p == nil {
		p = &producerModel{state: ProducerState{ID: e.producer}}
		m.producers[e.producer] = p
	}
	m.state.Dropped = max(m.state.Dropped, e.dropped)
	p.state.Name = cmp.Or(e.name, p.state.Name)
	p.state.Epoch = max(p.state.Epoch, e.epoch)
	if e.batch.b == nil {
		return
	}
	b := e.batch
	m.state.End, m.state.Time, m.state.Attachment = b.To(), b.Time(), b.Attachment()
	p.state.Epoch = max(p.state.Epoch, b.ProducerEpoch())
	p.state.Last, p.state.Lowest, p.state.Time = b.LastSeq(), max(p.state.Lowest, b.LowestSeq()), b.Time()
	p.all = append(p.all, StoredBatch{First: b.FirstSeq(), Count: uint32(b.Count()), From: b.From(), Sum: b.PayloadChecksum(), Time: b.Time()})
}

func (m *stateModel) result() LogState {
	s := m.state
	for _, id := range slices.Sorted(maps.Keys(m.producers)) {
		p := m.producers[id]
		out := p.state
		for _, b := range p.all[max(0, len(p.all)-InFlightMax):] {
			if b.End() > out.Lowest {
				out.Batches = append(out.Batches, b)
			}
		}
		s.Producers = append(s.Producers, out)
	}
	return s
}

// delta gathers the events of one fragment the way a writer does.
func delta(log LogID, events []event) LogState {
	s := LogState{Log: log}
	producers := map[ProducerID]*ProducerState{}
	for _, e := range events {
		p := producers[e.producer]
		if p == nil {
			p = &ProducerState{ID: e.producer}
			producers[e.producer] = p
		}
		s.Dropped = max(s.Dropped, e.dropped)
		p.Name, p.Epoch = cmp.Or(e.name, p.Name), max(p.Epoch, e.epoch)
		if e.batch.b != nil {
			s.Attachment, s.End, s.Time = e.batch.Attachment(), e.batch.To(), e.batch.Time()
			p.Remember(e.batch)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(producers)) {
		s.Producers = append(s.Producers, *producers[id])
	}
	return s
}

// history makes the events of n fragments.
func history(t testing.TB, r *rand.Rand, n int) [][]event {
	next, lowest, epoch := map[ProducerID]uint64{}, map[ProducerID]uint64{}, map[ProducerID]ProducerEpoch{}
	stamp := Stamp{Log: 4, Attachment: 2, Epoch: 3, From: 1, Time: 1}
	fragments := make([][]event, n)
	slow := 1 + r.IntN(200) // how long producers go without answers
	for i := range fragments {
		if r.IntN(20) == 0 {
			stamp.Attachment++
		}
		for k := range 1 + r.IntN(12) {
			id := ProducerID(1 + min(r.IntN(8), r.IntN(8)))
			e := event{producer: id}
			if r.IntN(10) == 0 {
				epoch[id]++
				e.name, e.epoch, e.dropped = fmt.Sprint("name-", id%3), 1+epoch[id], ProducerID(r.IntN(5))
			}
			if e.epoch == 0 || k == 0 { // so that each fragment has a batch
				next[id] = max(next[id], 1)
				if r.IntN(slow) == 0 { // the producer has got answers
					lowest[id] = next[id] - min(next[id]-1, r.Uint64N(200))
				}
				e.batch = makeBatch(t, BatchMeta{Producer: id, ProducerEpoch: 1 + epoch[id], FirstSeq: next[id], LowestSeq: lowest[id]}, make([]item, 1+r.IntN(4))...)
				e.batch.Stamp(stamp)
				next[id] += uint64(e.batch.Count())
				stamp.From, stamp.Time = e.batch.To(), stamp.Time+Micros(r.IntN(5))
			}
			fragments[i] = append(fragments[i], e)
		}
	}
	return fragments
}

// merge merges states in order, and fails if that changes any of them.
func merge(t testing.TB, states []LogState) LogState {
	t.Helper()
	before := make([]LogState, len(states))
	for i, s := range states {
		before[i] = s.Clone()
	}
	sum := states[0]
	for _, s := range states[1:] {
		sum = sum.Merge(s)
	}
	for i, s := range states {
		require.Empty(t, gocmp.Diff(before[i], s), "Merge changed state %d", i)
	}
	return sum
}

// TestMerge: remembering all batches one by one, merging what each fragment
// changed, and merging sums of up to 64 of these all come to what a model
// says that never forgets anything.
func TestMerge(t *testing.T) {
	r := newRand(t)
	for range 15 {
		fragments := history(t, r, 1+r.IntN(300))
		model := stateModel{state: LogState{Log: 4}, producers: map[ProducerID]*producerModel{}}
		var deltas, sums []LogState
		for _, events := range fragments {
			for _, e := range events {
				model.apply(e)
			}
			deltas = append(deltas, delta(4, events))
		}
		for part := range slices.Chunk(deltas, 1+r.IntN(64)) {
			sums = append(sums, merge(t, part))
		}
		want := model.result()
		require.Empty(t, gocmp.Diff(want, delta(4, slices.Concat(fragments...)), sameNone), "one by one")
		require.Empty(t, gocmp.Diff(want, merge(t, deltas), sameNone), "deltas")
		require.Empty(t, gocmp.Diff(want, merge(t, sums), sameNone), "sums")
		cut := r.IntN(len(deltas))
		require.Empty(t, gocmp.Diff(want, merge(t, append([]LogState{merge(t, deltas[:cut+1])}, deltas[cut:]...)), sameNone), "a delta that is in the base too")
		for _, p := range want.Producers {
			require.LessOrEqual(t, len(p.Batches), InFlightMax)
		}

		f := Encode(Head{Kind: KindIndex, N: 1}, &Directory{Index: &Index{To: 1, States: []LogState{want}}})
		got, err := Decode(object(f))
		require.NoError(t, err)
		require.Empty(t, gocmp.Diff(want, got.Directory.Index.States[0], sameNone))
	}
}

// sameNone: no batches are no batches.
var sameNone = gocmp.FilterValues(func(a, b []StoredBatch) bool { return len(a) == 0 && len(b) == 0 }, gocmp.Ignore())

// TestRememberLeavesCopies: a snapshot made before stays what it was, whatever
// is remembered after, as do the arguments of a Merge when its result goes on.
func TestRememberLeavesCopies(t *testing.T) {
	r := newRand(t)
	for range 10 {
		var live ProducerState
		var snapshots, copies []ProducerState
		batches := func(n int) (all []Batch) {
			for range n {
				first := live.Last + 1
				b := makeBatch(t, BatchMeta{Producer: 1, ProducerEpoch: 1, FirstSeq: first, LowestSeq: first - min(first-1, r.Uint64N(90))}, item{})
				b.Stamp(Stamp{Log: 1, From: LSN(first), Time: Micros(first)})
				all, live.Last = append(all, b), first
			}
			return all
		}
		for _, b := range batches(200) {
			live.Remember(b)
			snapshots = append(snapshots, live)
			copies = append(copies, LogState{Producers: []ProducerState{live}}.Clone().Producers[0])
		}
		base := LogState{Log: 1, Producers: []ProducerState{{ID: 0}, {ID: 5}}}
		base.Producers[0] = live
		later := LogState{Log: 1, Producers: []ProducerState{{ID: 3, Last: 1}}}
		for _, b := range batches(3) {
			later.Producers[0].Remember(b)
		}
		baseCopy, laterCopy := base.Clone(), later.Clone()
		one, two := base.Merge(later), base.Merge(later)
		for _, b := range batches(5) {
			for i := range one.Producers {
				one.Producers[i].Remember(b)
			}
		}
		oneCopy, twoCopy := one.Clone(), two.Clone()
		for _, b := range batches(5) { // each goes its own way
			live.Remember(b)
			two.Producers[0].Remember(makeBatch(t, BatchMeta{FirstSeq: b.FirstSeq()}, item{}, item{}))
		}
		require.Empty(t, gocmp.Diff(oneCopy, one))
		two.Producers[0] = twoCopy.Producers[0]
		require.Empty(t, gocmp.Diff(copies, snapshots))
		require.Empty(t, gocmp.Diff(baseCopy, base))
		require.Empty(t, gocmp.Diff(laterCopy, later))
		require.Empty(t, gocmp.Diff(twoCopy, two))
	}
}
