package wpd

import (
	"fmt"

	"github.com/wpd-io/wpd/fragment"
)

const (
	// entryRoomMin is what an entry takes of a writer's room at least: what
	// the bookkeeping of a tiny one costs.
	entryRoomMin = 64
	// entryOverheadMax is the most that an encoded entry has beyond the bytes
	// of its headers and data: two varints.
	entryOverheadMax = 10
)

// batcher collects entries into batches: the open one, and behind it those
// that are closed and not yet sent. Not safe for concurrent use.
type batcher struct {
	limits fragment.Limits
	open   *batch // nil, or with at least one entry
	queue  []*batch
	due    bool // the open batch has waited long enough
}

// add puts an entry, which is within the limits and has the given size, into
// the open batch, or into a new one if it is full, and returns the batch and
// the entry's index there.
func (c *batcher) add(headers []Header, data []byte, size int) (*batch, int) {
	if b := c.open; b != nil && b.builder.Len()+size+entryOverheadMax > fragment.BatchBytesTarget {
		c.cut()
	}
	b := c.open
	if b == nil {
		b = c.newBatch()
	}
	if err := b.builder.Add(headers, data); err != nil {
		panic(fmt.Sprintf("an entry of %d bytes in a batch of %d: %v", size, b.builder.Len(), err)) // it was checked
	}
	i := b.count
	b.count++
	b.room += roomOf(size)
	if c.open = b; b.count == fragment.BatchEntriesMax {
		c.cut()
	}
	return b, i
}

func (c *batcher) newBatch() *batch {
	return &batch{builder: fragment.BatchBuilder{Limits: c.limits}, done: make(chan struct{})}
}

// cut closes the open batch, if there is one.
func (c *batcher) cut() {
	if b := c.open; b != nil {
		c.queue = append(c.queue, b)
		c.open, c.due = nil, false
	}
}

// push puts a batch of its own behind all that was added.
func (c *batcher) push(b *batch) {
	c.cut()
	c.queue = append(c.queue, b)
}

// take takes the batch that is to be sent next: a closed one, or else the
// open one if it is due or nothing else is on its way.
func (c *batcher) take(idle bool) *batch {
	if len(c.queue) == 0 && (c.due || idle) {
		c.cut()
	}
	if len(c.queue) == 0 {
		return nil
	}
	b := c.queue[0]
	c.queue[0] = nil
	c.queue = c.queue[1:]
	return b
}

// ready reports whether there is something to take.
func (c *batcher) ready() bool { return len(c.queue) > 0 || c.due }

func (c *batcher) empty() bool { return c.open == nil && len(c.queue) == 0 }

// whole makes one batch of all entries, or says why they can't be one.
func (c *batcher) whole(entries []Entry) (*batch, error) {
	b := c.newBatch()
	switch {
	case len(entries) == 0:
		return nil, fmt.Errorf("%w: a batch without entries", ErrInvalid)
	case len(entries) > fragment.BatchEntriesMax:
		return nil, &LimitError{What: "batch entries", Limit: fragment.BatchEntriesMax, Value: uint64(len(entries))}
	}
	for _, e := range entries {
		if err := b.builder.Add(e.Headers, e.Data); err != nil {
			return nil, limitError(err)
		}
		b.room += roomOf(entryBytes(e.Headers, e.Data))
	}
	b.count = len(entries)
	return b, nil
}

// entryBytes is the size of an entry, as limits count it.
func entryBytes(headers []Header, data []byte) int {
	n := len(data)
	for _, h := range headers {
		n += varintLen(len(h.Key)) + len(h.Key) + varintLen(len(h.Value)) + len(h.Value)
	}
	return n
}

func varintLen(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

func roomOf(entryBytes int) int { return max(entryBytes, entryRoomMin) }
