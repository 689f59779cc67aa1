package segment

import (
	"container/list"
	"sync"

	"github.com/wpd-io/wpd/fragment"
)

// Cache holds slices of fragments and indexes in memory, up to a number of
// bytes; the least recently used go first. Logs are read in order and soon
// after they are written, so nothing cleverer pays. Safe for concurrent use.
type Cache struct {
	bytesMax int64

	mu      sync.Mutex
	bytes   int64
	entries map[cacheKey]*list.Element
	order   list.List // of *cached, the most recently used first
	hits    uint64
	misses  uint64
}

// cacheKey names a fragment, or (by its key) an index.
type cacheKey struct {
	epoch fragment.Epoch
	n     uint64
	index string
}

type cached struct {
	key    cacheKey
	bytes  int64
	slices map[fragment.LogID][]fragment.Batch
	whole  bool // all slices are here
	index  *fragment.Index
}

// NewCache makes a cache of up to so many bytes; 0 holds nothing.
func NewCache(bytesMax int64) *Cache {
	return &Cache{bytesMax: bytesMax, entries: make(map[cacheKey]*list.Element)}
}

// put takes in a whole fragment.
func (c *Cache) put(e fragment.Epoch, f *fragment.Frozen) {
	x := &cached{key: cacheKey{epoch: e, n: f.Head.N}, bytes: int64(f.Size), whole: true,
		slices: make(map[fragment.LogID][]fragment.Batch, len(f.Batches))}
	for i, s := range f.Directory.Slices {
		x.slices[s.Log] = f.Batches[i]
	}
	c.insert(x)
}

// putSlice takes in one slice of a fragment.
func (c *Cache) putSlice(e fragment.Epoch, n uint64, log fragment.LogID, batches []fragment.Batch, bytes int) {
	c.insert(&cached{key: cacheKey{epoch: e, n: n}, bytes: int64(bytes),
		slices: map[fragment.LogID][]fragment.Batch{log: batches}})
}

func (c *Cache) putIndex(key string, x *fragment.Index, bytes int) {
	// Decoded rows are about four times their encoding.
	c.insert(&cached{key: cacheKey{index: key}, bytes: 4 * int64(bytes), index: x})
}

func (c *Cache) insert(x *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[x.key]; ok {
		have := e.Value.(*cached)
		if have.whole && !x.whole && x.index == nil {
			return
		}
		c.removeLocked(e)
		if !x.whole && x.index == nil { // slices of one fragment add up
			for log, batches := range have.slices {
				if x.slices[log] == nil {
					x.slices[log] = batches
					x.bytes += batchBytes(batches)
				}
			}
		}
	}
	if x.bytes > c.bytesMax {
		return
	}
	c.entries[x.key] = c.order.PushFront(x)
	for c.bytes += x.bytes; c.bytes > c.bytesMax; {
		c.removeLocked(c.order.Back())
	}
}

func batchBytes(batches []fragment.Batch) int64 {
	var n int64
	for _, b := range batches {
		n += int64(b.Len())
	}
	return n
}

func (c *Cache) removeLocked(e *list.Element) {
	x := c.order.Remove(e).(*cached)
	delete(c.entries, x.key)
	c.bytes -= x.bytes
}

// Slice returns a log's slice of a fragment, nil if it is not here.
func (c *Cache) Slice(e fragment.Epoch, n uint64, log fragment.LogID) []fragment.Batch {
	batches, _ := c.slice(e, n, log)
	return batches
}

// slice returns a log's slice of a fragment. near says that other slices of
// the fragment are here but this one is not: the fragment is worth having
// whole.
func (c *Cache) slice(e fragment.Epoch, n uint64, log fragment.LogID) (batches []fragment.Batch, near bool) {
	x := c.get(cacheKey{epoch: e, n: n})
	if x == nil {
		return nil, false
	}
	return x.slices[log], x.slices[log] == nil
}

// peek returns what is here of a fragment, without counting as a look-up.
func (c *Cache) peek(e fragment.Epoch, n uint64) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x, ok := c.entries[cacheKey{epoch: e, n: n}]; ok {
		return x.Value.(*cached)
	}
	return nil
}

func (c *Cache) index(key string) *fragment.Index {
	if x := c.get(cacheKey{index: key}); x != nil {
		return x.index
	}
	return nil
}

func (c *Cache) get(k cacheKey) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[k]
	if !ok {
		c.misses++
		return nil
	}
	c.hits++
	c.order.MoveToFront(e)
	return e.Value.(*cached)
}

// Stats are the numbers of look-ups that found something, and that did not,
// and the bytes held.
func (c *Cache) Stats() (hits, misses uint64, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hits, c.misses, c.bytes
}
