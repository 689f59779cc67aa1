package wal

import (
	"cmp"
	"slices"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// producerIdle is how long an anonymous producer is remembered after its last
// batch.
const producerIdle = fragment.Micros(10 * time.Minute / time.Microsecond)

// producers is a log's producer table as of its assigned tail. Guarded by the
// log's mutex.
type producers struct {
	byID    map[fragment.ProducerID]*fragment.ProducerState
	byName  map[string]fragment.ProducerID
	dropped fragment.ProducerID // the highest anonymous one forgotten
	given   uint64              // ids given out under the present attachment
	most    int                 // bounds the anonymous ones
}

func newProducers(s fragment.LogState, most int) producers {
	p := producers{
		byID:    make(map[fragment.ProducerID]*fragment.ProducerState, len(s.Producers)),
		byName:  make(map[string]fragment.ProducerID),
		dropped: s.Dropped,
		most:    most,
	}
	for i := range s.Producers {
		p.put(&s.Producers[i])
	}
	return p
}

func (p *producers) put(s *fragment.ProducerState) {
	p.byID[s.ID] = s
	if s.Name != "" {
		p.byName[s.Name] = s.ID
	}
}

// states returns the whole table, by id.
func (p *producers) states() []fragment.ProducerState {
	all := make([]fragment.ProducerState, 0, len(p.byID))
	for _, s := range p.byID {
		c := *s
		c.Batches = slices.Clone(s.Batches)
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b fragment.ProducerState) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// nextID gives out a producer id: ascending within the log, and never again,
// since no attachment is.
func (p *producers) nextID(a fragment.Attachment) fragment.ProducerID {
	p.given++
	return fragment.ProducerID(uint64(a)<<32 | p.given)
}

// highest is the highest id that was given out under the attachment, or any
// before it.
func (p *producers) highest(a fragment.Attachment) fragment.ProducerID {
	return fragment.ProducerID(uint64(a)<<32 | p.given)
}

// expire forgets the anonymous producers that sent nothing since a time.
func (p *producers) expire(since fragment.Micros) {
	for id, s := range p.byID {
		if s.Name == "" && s.Time < since {
			delete(p.byID, id)
			p.dropped = max(p.dropped, id)
		}
	}
}

// room says whether one more anonymous producer may be remembered, dropping
// idle ones if need be.
func (p *producers) room(id fragment.ProducerID) error {
	anonymous := func() int { return len(p.byID) - len(p.byName) }
	if p.byID[id] != nil || anonymous() < p.most {
		return nil
	}
	if p.expire(fragment.Micros(time.Now().UnixMicro()) - producerIdle); anonymous() < p.most {
		return nil
	}
	return &api.LimitError{What: "anonymous producers of a log in 10 minutes", Limit: uint64(p.most), Value: uint64(p.most) + 1}
}

// verdict is what becomes of a batch.
type verdict int

const (
	verdictNew    verdict = iota // it comes next
	verdictStored                // it is stored: the answer is known
	verdictNo                    // it is refused
)

// judge says what becomes of a batch by its producer alone. What is stored is
// answered before anything else is looked at.
func (p *producers) judge(b fragment.Batch) (verdict, api.Ack, error) {
	first, last := b.FirstSeq(), b.LastSeq()
	s := p.byID[b.Producer()]
	if s == nil {
		if b.Producer() > p.dropped && first == 1 {
			return verdictNew, api.Ack{}, nil
		}
		return verdictNo, api.Ack{}, api.ErrUnknownProducer
	}
	i, found := slices.BinarySearchFunc(s.Batches, first, func(x fragment.StoredBatch, seq uint64) int { return cmp.Compare(x.First, seq) })
	if found {
		if x := s.Batches[i]; x.Sum == b.PayloadChecksum() && int(x.Count) == b.Count() {
			return verdictStored, api.Ack{From: x.From, To: x.From + fragment.LSN(x.Count), Time: x.Time}, nil
		}
	}
	switch {
	case b.ProducerEpoch() < s.Epoch:
		return verdictNo, api.Ack{}, &api.FencedError{What: "producer epoch", Have: uint64(b.ProducerEpoch()), Want: uint64(s.Epoch)}
	case first == s.Last+1:
		return verdictNew, api.Ack{}, nil
	case last <= s.Last && (len(s.Batches) == 0 || last < s.Batches[0].First):
		return verdictNo, api.Ack{}, api.ErrStored
	}
	return verdictNo, api.Ack{}, &api.SequenceError{Have: first, Last: s.Last, Conflict: first <= s.Last}
}

// remember takes in a batch that was given its LSNs.
func (p *producers) remember(b fragment.Batch) {
	s := p.byID[b.Producer()]
	if s == nil {
		s = &fragment.ProducerState{ID: b.Producer()}
		p.byID[s.ID] = s
	}
	s.Remember(b)
}
