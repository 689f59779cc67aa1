package wpd

import "github.com/wpd-io/wpd/fragment"

// pipeline holds the batches that have a number, in the order of the numbers,
// and the producer that they are numbered under. Not safe for concurrent use.
//
// Sending goes through flight from front to back; after trouble, and once
// every attempt is answered, it starts at the front again. At most
// fragment.InFlightMax batches lie between the first that is not settled and
// the last that was sent, so the log remembers each of them.
type pipeline struct {
	id         fragment.ProducerID
	name       string // empty for an anonymous producer
	epoch      fragment.ProducerEpoch
	generation fragment.Generation
	codec      fragment.Codec
	seq        uint64 // of the next entry

	flight      []*batch // the first is not settled
	next        int      // index in flight of the batch to be sent next
	outstanding int      // attempts without an answer

	trouble bool // an attempt of this round was not acknowledged: send nothing before all are answered
	retries int  // rounds without an acknowledgement

	reopen bool                   // open the producer again before the next batch is sent
	gone   bool                   // the log has forgotten the producer: open a new one
	tried  fragment.ProducerEpoch // the epoch that it is being raised to; 0: none yet
}

func (p *pipeline) idle() bool { return len(p.flight) == 0 }
func (p *pipeline) full() bool { return len(p.flight) >= fragment.InFlightMax }

// number puts a batch at the end of the flight.
func (p *pipeline) number(b *batch) {
	p.flight = append(p.flight, b)
	p.renumber(b)
	b.renewed = false
}

// renumber gives a batch the next sequences.
func (p *pipeline) renumber(b *batch) {
	b.meta = fragment.BatchMeta{
		Producer:      p.id,
		ProducerEpoch: p.epoch,
		FirstSeq:      p.seq,
		LowestSeq:     min(p.flight[0].meta.FirstSeq, p.seq),
		Generation:    p.generation,
		Codec:         p.codec,
	}
	if p.flight[0] == b {
		b.meta.LowestSeq = p.seq
	}
	b.renewed, b.unknown, b.answer = true, false, nil
	p.seq += uint64(b.count)
}

// compact drops what is settled from the front of the flight.
func (p *pipeline) compact() {
	n := 0
	for n < len(p.flight) && p.flight[n].settled {
		p.flight[n] = nil
		n++
	}
	p.flight = p.flight[n:]
	p.next = max(0, p.next-n)
}

// unsent returns the batch of the flight that is to be sent next, if any.
func (p *pipeline) unsent() *batch {
	for p.next < len(p.flight) {
		b := p.flight[p.next]
		p.next++
		if !b.settled {
			return b
		}
	}
	return nil
}
