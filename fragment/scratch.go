package fragment

import "sync"

// scratches keep the buffers that batches are built in between batches, so
// that building costs no fresh memory: what Finish returns has its exact size.
// A small one does not hold up much while it waits for its second entry, and
// the largest takes a usual batch. (Not a sync.Pool: that is emptied by every
// other collection, which come often where buffers are needed most.)
var scratches = [...]*scratchPool{
	{size: 4 << 10, most: 1024},
	{size: 16 << 10, most: 256},
	{size: 128 << 10, most: 32},
	{size: BatchBytesTarget + batchBytesSlack, most: 4},
}

// scratchPool keeps up to most buffers of one size.
type scratchPool struct {
	size, most int

	mu   sync.Mutex
	free [][]byte
}

// getScratch returns an empty buffer for at least n bytes.
func getScratch(n int) []byte {
	for _, p := range scratches {
		if n <= p.size {
			return p.get()
		}
	}
	return make([]byte, 0, n)
}

// putScratch takes a buffer back; one of another size, or one too many, is
// left to the collector.
func putScratch(b []byte) {
	for _, p := range scratches {
		if cap(b) == p.size {
			p.put(b[:0])
		}
	}
}

func (p *scratchPool) get() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.free)
	if n == 0 {
		return make([]byte, 0, p.size)
	}
	b := p.free[n-1]
	p.free = p.free[:n-1]
	return b
}

func (p *scratchPool) put(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < p.most {
		p.free = append(p.free, b)
	}
}
