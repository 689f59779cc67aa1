package fragment

import (
	"cmp"
	"slices"
)

// LogState is where a log stands at some point of a chain: its end and its
// producers. The directory of a fragment holds the states of the logs that it
// touched, with the producers that it touched; the sum in every 64th does the
// same for the last 64; an index object holds all of all logs. Merge makes
// the later out of the earlier.
type LogState struct {
	Log        LogID
	Attachment Attachment
	End        LSN        // after the last entry
	Time       Micros     // of the last batch
	Dropped    ProducerID // the highest anonymous producer forgotten so far
	Producers  []ProducerState
}

// ProducerState is where a producer stands in a log.
type ProducerState struct {
	ID      ProducerID
	Name    string // "" for an anonymous one
	Epoch   ProducerEpoch
	Last    uint64 // its last stored sequence
	Lowest  uint64 // the lowest sequence that it still waited for, as it last said
	Time    Micros // of its last batch
	Batches []StoredBatch
}

// StoredBatch is what is remembered of a stored batch, so that it can be
// answered again.
type StoredBatch struct {
	First uint64 // its first sequence
	Count uint32
	From  LSN
	Sum   uint32 // its payload checksum
	Time  Micros
}

// End is the sequence after its last.
func (b StoredBatch) End() uint64 { return b.First + uint64(b.Count) }

// Merge applies what came later. Neither argument is changed, nor will it be
// by Remember on a producer of the result (unless nothing came later of any
// producer: then the result shares them); what did not change is shared.
func (s LogState) Merge(later LogState) LogState {
	s.Attachment = later.Attachment
	s.End = max(s.End, later.End)
	s.Time = max(s.Time, later.Time)
	s.Dropped = max(s.Dropped, later.Dropped)
	if len(later.Producers) == 0 {
		return s
	}
	merged := make([]ProducerState, 0, len(s.Producers)+len(later.Producers))
	old := s.Producers
	for _, p := range later.Producers {
		i, found := slices.BinarySearchFunc(old, p.ID, compareProducer)
		merged = append(merged, old[:i]...)
		old = old[i:]
		if found {
			p = old[0].merge(p)
			old = old[1:]
		}
		merged = append(merged, p)
	}
	s.Producers = append(merged, old...)
	for i := range s.Producers { // so that Remember does not append to what is shared
		s.Producers[i].Batches = slices.Clip(s.Producers[i].Batches)
	}
	return s
}

func compareProducer(p ProducerState, id ProducerID) int { return cmp.Compare(p.ID, id) }

func (p ProducerState) merge(later ProducerState) ProducerState {
	if later.Name != "" {
		p.Name = later.Name
	}
	p.Epoch = max(p.Epoch, later.Epoch)
	p.Last = max(p.Last, later.Last)
	p.Lowest = max(p.Lowest, later.Lowest)
	p.Time = max(p.Time, later.Time)
	p.Batches = rememberedBatches(p.Lowest, p.Batches, later.Batches)
	return p
}

// rememberedBatches joins two runs of batches and keeps those that the
// producer may still send again, at most InFlightMax.
func rememberedBatches(lowest uint64, older, newer []StoredBatch) []StoredBatch {
	all := make([]StoredBatch, 0, len(older)+len(newer))
	for _, run := range [][]StoredBatch{older, newer} {
		for _, b := range run {
			if b.End() > lowest && (len(all) == 0 || b.First >= all[len(all)-1].End()) {
				all = append(all, b)
			}
		}
	}
	return all[max(0, len(all)-InFlightMax):]
}

// Remember applies one stored batch to a producer's state. What a copy of the
// state made earlier holds stays as it is; but of two copies, only one may
// Remember more.
func (p *ProducerState) Remember(b Batch) {
	p.Epoch = max(p.Epoch, b.ProducerEpoch())
	p.Last = max(p.Last, b.LastSeq())
	p.Lowest = max(p.Lowest, b.LowestSeq())
	p.Time = max(p.Time, b.Time())
	i := 0
	for i < len(p.Batches) && p.Batches[i].End() <= p.Lowest {
		i++
	}
	p.Batches = p.Batches[i:]
	if n := len(p.Batches); n > 0 && b.FirstSeq() < p.Batches[n-1].End() {
		return // it is there
	}
	p.Batches = p.Batches[max(0, len(p.Batches)+1-InFlightMax):]
	p.Batches = append(p.Batches, StoredBatch{
		First: b.FirstSeq(), Count: uint32(b.Count()), From: b.From(), Sum: b.PayloadChecksum(), Time: b.Time(),
	})
}

// Clone returns a copy that shares nothing.
func (s LogState) Clone() LogState {
	s.Producers = slices.Clone(s.Producers)
	for i := range s.Producers {
		s.Producers[i].Batches = slices.Clone(s.Producers[i].Batches)
	}
	return s
}

// The limits of texts, and how many bytes an item of each list takes at least.
const (
	nameBytesMax    = 255
	logStateMin     = 6
	producerMin     = 7
	storedBatchMin  = 8
	textBytesMax    = 1 << 10
	pointMin        = 2
	sliceMin        = 13
	indexLogMin     = 3
	rowMin          = 7
	endMin          = 3
	attachedLogsMin = 7
)

func appendStates(dst []byte, states []LogState) []byte {
	dst = appendUvarint(dst, uint64(len(states)))
	for _, s := range states {
		dst = appendUvarint(dst, uint64(s.Log))
		dst = appendUvarint(dst, uint64(s.Attachment))
		dst = appendUvarint(dst, uint64(s.End))
		dst = appendMicros(dst, s.Time)
		dst = appendUvarint(dst, uint64(s.Dropped))
		dst = appendUvarint(dst, uint64(len(s.Producers)))
		for _, p := range s.Producers {
			dst = p.append(dst)
		}
	}
	return dst
}

func (p ProducerState) append(dst []byte) []byte {
	dst = appendUvarint(dst, uint64(p.ID))
	dst = appendBytes(dst, p.Name)
	dst = appendUvarint(dst, uint64(p.Epoch))
	dst = appendUvarint(dst, p.Last)
	dst = appendUvarint(dst, p.Lowest)
	dst = appendMicros(dst, p.Time)
	dst = appendUvarint(dst, uint64(len(p.Batches)))
	var prev StoredBatch
	for _, b := range p.Batches { // what is usual of a neighbour becomes a zero
		dst = appendUvarint(dst, b.First-prev.End())
		dst = appendUvarint(dst, uint64(b.Count))
		dst = appendUvarint(dst, zigzag(int64(b.From-prev.From)-int64(prev.Count)))
		dst = appendMicros(dst, b.Time-prev.Time)
		dst = le.AppendUint32(dst, b.Sum)
		prev = b
	}
	return dst
}

func (c *cursor) states() []LogState {
	n := c.count(logStateMin)
	states := room[LogState](n)
	for range n {
		s := LogState{
			Log:        LogID(c.uvarint()),
			Attachment: Attachment(c.uvarint()),
			End:        LSN(c.uvarint()),
			Time:       c.micros(),
			Dropped:    ProducerID(c.uvarint()),
		}
		producers := c.count(producerMin)
		s.Producers = room[ProducerState](producers)
		for range producers {
			p := c.producer()
			if k := len(s.Producers); k > 0 && p.ID <= s.Producers[k-1].ID {
				c.fail("producers of log %d are out of order", s.Log)
			}
			if c.err != nil {
				return states
			}
			s.Producers = append(s.Producers, p)
		}
		if k := len(states); k > 0 && s.Log <= states[k-1].Log {
			c.fail("states of logs are out of order")
		}
		if c.err != nil {
			return states
		}
		states = append(states, s)
	}
	return states
}

func (c *cursor) producer() ProducerState {
	p := ProducerState{
		ID:     ProducerID(c.uvarint()),
		Name:   c.string(nameBytesMax),
		Epoch:  ProducerEpoch(c.uvarint()),
		Last:   c.uvarint(),
		Lowest: c.uvarint(),
		Time:   c.micros(),
	}
	n := c.count(storedBatchMin)
	if n > InFlightMax {
		c.fail("%d remembered batches of a producer, at most %d", n, InFlightMax)
		return p
	}
	p.Batches = room[StoredBatch](n)
	var prev StoredBatch
	for range n {
		b := StoredBatch{
			First: prev.End() + c.uvarint(),
			Count: uint32(c.bounded(BatchEntriesMax)),
			From:  prev.From + LSN(int64(prev.Count)+unzigzag(c.uvarint())),
			Time:  prev.Time + c.micros(),
			Sum:   c.uint32(),
		}
		if b.First < prev.End() || b.End() < b.First {
			c.fail("remembered batches of producer %d are out of order", p.ID)
		}
		if c.err != nil {
			return p
		}
		p.Batches = append(p.Batches, b)
		prev = b
	}
	return p
}
