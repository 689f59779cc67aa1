package offline

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/wpd-io/wpd/fragment"
)

// producersMax bounds the producers that are remembered of a log while it is
// verified; beyond it, those that were seen last are kept.
const producersMax = 16384

// logCheck follows a log from batch to batch.
type logCheck struct {
	log        *Log
	name       string
	attachment fragment.Attachment // of the last batch
	time       fragment.Micros
	producers  map[fragment.ProducerID]*producerCheck
	// losses counts what broke the sequence of batches. What is known from
	// before the last of them is a lower bound only.
	losses, timeAt int
}

type producerCheck struct {
	epoch fragment.ProducerEpoch
	last  uint64
	at    int // losses when that was seen
	time  fragment.Micros
}

func newLogCheck(l *Log) *logCheck {
	c := &logCheck{log: l, name: l.Name, producers: make(map[fragment.ProducerID]*producerCheck)}
	if l.places[0].first > 1 || l.places[0].attached == nil {
		c.skip()
	}
	return c
}

// skip says that batches are missing.
func (c *logCheck) skip() { c.losses++ }

// next takes in the batch that comes next, and says what is out of order.
func (c *logCheck) next(b fragment.Batch) (wrong []string) {
	if b.Attachment() != c.attachment {
		c.enter(b.Attachment())
	}
	if c.timeAt == c.losses && b.Time() < c.time {
		wrong = append(wrong, fmt.Sprintf("was appended %d µs before the batch that precedes it", c.time-b.Time()))
	}
	c.time, c.timeAt = max(c.time, b.Time()), c.losses
	id := b.Producer()
	p := c.producers[id]
	switch first := b.FirstSeq(); {
	case p == nil && c.losses == 0 && first != 1:
		wrong = append(wrong, fmt.Sprintf("is the first of producer %#x, with sequence %d", id, first))
	case p != nil && (first <= p.last || p.at == c.losses && first != p.last+1):
		wrong = append(wrong, fmt.Sprintf("has sequence %d of producer %#x, %d comes next", first, id, p.last+1))
	}
	if p == nil {
		c.makeRoom()
		p = &producerCheck{}
		c.producers[id] = p
	}
	if b.ProducerEpoch() < p.epoch {
		wrong = append(wrong, fmt.Sprintf("is of epoch %d of producer %#x, which was at %d", b.ProducerEpoch(), id, p.epoch))
	}
	*p = producerCheck{epoch: max(p.epoch, b.ProducerEpoch()), last: max(p.last, b.LastSeq()), at: c.losses, time: b.Time()}
	return wrong
}

// enter begins an extent. Extents are seen in order of their chains; where the
// log went to and fro between chains, that is not the order of its batches.
func (c *logCheck) enter(a fragment.Attachment) {
	var seen fragment.Attachment
	for _, p := range c.log.places {
		if p.attachment == a {
			break
		}
		if p.next > p.first { // not empty
			seen = p.attachment
		}
	}
	if seen != c.attachment {
		c.skip()
		c.producers = make(map[fragment.ProducerID]*producerCheck)
		c.time = 0 // what was seen last may have come later
	}
	c.attachment = a
}

// makeRoom forgets the producers that were seen longest ago, if there are too
// many.
func (c *logCheck) makeRoom() {
	if len(c.producers) < producersMax {
		return
	}
	ids := make([]fragment.ProducerID, 0, len(c.producers))
	for id := range c.producers {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b fragment.ProducerID) int {
		return cmp.Compare(c.producers[a].time, c.producers[b].time)
	})
	for _, id := range ids[:len(ids)/2] {
		delete(c.producers, id)
	}
	c.skip() // whoever comes back is not taken for new
}
