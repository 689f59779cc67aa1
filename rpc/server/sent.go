package server

import (
	"golang.org/x/sync/semaphore"

	"github.com/wpd-io/wpd/fragment"
)

// sent is the chunk that a reading is sending: batches, which are taken piece
// by piece. What is left of them can be given up, and brought back.
type sent struct {
	from, to fragment.LSN
	bytes    int // of the chunk
	taken    int // <= bytes

	// What is left is in batches, or in copied, or nowhere.
	batches []fragment.Batch
	offset  int                 // what is taken of the first of batches
	copied  []byte              // for which bytes of budget are held
	held    int                 // these
	budget  *semaphore.Weighted // set if held > 0

	pieces [][]byte // that take returned last
}

func (c *sent) begin(batches []fragment.Batch, from, to fragment.LSN, bytes int) {
	*c = sent{from: from, to: to, bytes: bytes, batches: batches}
}

// end lets go of everything.
func (c *sent) end() {
	if c.held > 0 {
		c.budget.Release(int64(c.held))
	}
	*c = sent{}
}

// lost says that more is to be taken, and that it is not here.
func (c *sent) lost() bool { return c.taken < c.bytes && len(c.batches)+len(c.copied) == 0 }

// take returns up to most bytes that come next, in pieces that are valid until
// the next call; none at the end.
func (c *sent) take(most int) [][]byte {
	c.pieces = c.pieces[:0]
	piece := func(b []byte) int {
		b = b[:min(len(b), most)]
		c.pieces = append(c.pieces, b)
		most -= len(b)
		c.taken += len(b)
		return len(b)
	}
	if len(c.copied) > 0 {
		c.copied = c.copied[piece(c.copied):]
	}
	for most > 0 && len(c.batches) > 0 {
		b := c.batches[0]
		if c.offset += piece(b.Bytes()[c.offset:]); c.offset == b.Len() {
			c.batches, c.offset = c.batches[1:], 0
		}
	}
	return c.pieces
}

// giveUp lets the batches go. What is left of them is copied, as far as the
// budget allows that, and lost otherwise.
func (c *sent) giveUp(budget *semaphore.Weighted) {
	if left := c.bytes - c.taken; left > 0 && len(c.batches) > 0 && budget.TryAcquire(int64(left)) {
		c.budget, c.held, c.copied = budget, left, make([]byte, 0, left)
		for _, b := range c.batches {
			c.copied = append(c.copied, b.Bytes()[c.offset:]...)
			c.offset = 0
		}
	}
	c.batches, c.offset = nil, 0
}

// bringBack takes the batches that were lost from the front of those that were
// fetched again, and says how many these are; false: they are not there.
func (c *sent) bringBack(batches []fragment.Batch) (n int, ok bool) {
	left := c.bytes
	for n < len(batches) && left > 0 {
		left -= batches[n].Len()
		n++
	}
	if left != 0 {
		return 0, false
	}
	c.batches, c.offset = batches[:n], c.taken
	for c.offset >= c.batches[0].Len() {
		c.offset -= c.batches[0].Len()
		c.batches = c.batches[1:]
	}
	return n, true
}
