package fragment

import "sync"

// scratches keep the buffers that batches are built in between batches, so
// that building costs no fresh memory: what Finish returns has its exact size.
// A thousand batches may be open at once, and what a buffer has beyond its
// batch is held all that time; so there are many sizes. The largest takes a
// usual batch. (Not a sync.Pool: that is emptied by every other collection,
// which come often where buffers are needed most.)
var scratches = scratchPool{sizes: [...]int{
	4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, BatchBytesTarget + batchBytesSlack,
}}

// scratchBytesMax bounds what is kept, in bytes: buffers for a thousand small
// batches that are sent together, or for a few large ones.
const scratchBytesMax = 24 << 20

// scratchPool keeps buffers of some sizes. Safe for concurrent use.
type scratchPool struct {
	sizes [7]int

	mu    sync.Mutex
	free  [7][][]byte // by size
	bytes int         // in free
}

// getScratch returns an empty buffer for at least n bytes.
func getScratch(n int) []byte {
	for i, size := range scratches.sizes {
		if n <= size {
			return scratches.get(i)
		}
	}
	return make([]byte, 0, n)
}

// putScratch takes a buffer back; one of another size is left to the
// collector.
func putScratch(b []byte) {
	for i, size := range scratches.sizes {
		if cap(b) == size {
			scratches.put(i, b[:0])
		}
	}
}

func (p *scratchPool) get(i int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free[i]) == 0 {
		return make([]byte, 0, p.sizes[i])
	}
	return p.popLocked(i)
}

// put keeps a buffer. Where that is too much, it drops others, of the size
// that takes most: so what was needed once makes room for what is needed now.
func (p *scratchPool) put(i int, b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free[i] = append(p.free[i], b)
	p.bytes += p.sizes[i]
	for p.bytes > scratchBytesMax {
		most := 0
		for j, size := range p.sizes {
			if size*len(p.free[j]) > p.sizes[most]*len(p.free[most]) {
				most = j
			}
		}
		p.popLocked(most)
	}
}

func (p *scratchPool) popLocked(i int) []byte {
	last := len(p.free[i]) - 1
	b := p.free[i][last]
	p.free[i][last] = nil // or its bytes would stay with the array
	p.free[i] = p.free[i][:last]
	p.bytes -= p.sizes[i]
	return b
}
