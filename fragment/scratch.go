package fragment

import "sync"

// scratches keep the chunks that batches are built in between batches, so that
// building costs no fresh memory: what Finish returns has its exact size. A
// batch gets chunk after chunk, so nothing is copied when it grows, and all of
// them need the same few sizes: a small one, since a thousand batches may be
// open at once, and most may stay small; larger ones once it has some entries.
// (Not only a sync.Pool: that is emptied by every other collection, which come
// often where chunks are needed most.)
var scratches = scratchPool{sizes: [...]int{4 << 10, 16 << 10, 64 << 10}}

// scratchBytesMax bounds what is kept for good, in bytes: chunks for a thousand
// small batches that are sent together, or for many large ones. What is more is
// kept until it was not needed between two collections.
const scratchBytesMax = 24 << 20

// scratchPool keeps chunks of some sizes. Safe for concurrent use.
type scratchPool struct {
	sizes [3]int

	mu    sync.Mutex
	free  [3][][]byte // by size
	bytes int         // in free

	more [3]sync.Pool // by size
}

// getScratch returns an empty chunk for a batch that has so many bytes already:
// the more those are, the larger.
func getScratch(have int) []byte {
	i := 0
	for i < len(scratches.sizes)-1 && have >= scratches.sizes[i] {
		i++
	}
	return scratches.get(i)
}

// putScratch takes a chunk back.
func putScratch(b []byte) {
	for i, size := range scratches.sizes {
		if cap(b) == size {
			scratches.put(i, b[:0])
		}
	}
}

func (p *scratchPool) get(i int) []byte {
	p.mu.Lock()
	if len(p.free[i]) > 0 {
		defer p.mu.Unlock()
		return p.popLocked(i)
	}
	p.mu.Unlock()
	if b, ok := p.more[i].Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 0, p.sizes[i])
}

// put keeps a chunk. Where that is too much, it gives up others, of the size that
// takes most: so what was needed once makes room for what is needed now.
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
		b := p.popLocked(most)
		p.more[most].Put(&b)
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
