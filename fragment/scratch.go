package fragment

import "sync"

// scratchSizes are the capacities of the buffers that batches are built in: a
// small one does not hold up much memory while it waits for its second entry,
// and the largest takes a usual batch.
var scratchSizes = [...]int{16 << 10, 128 << 10, BatchBytesTarget + batchBytesSlack}

// scratches keep such buffers between batches, so that building costs no fresh
// memory: what Finish returns has its exact size.
var scratches [len(scratchSizes)]sync.Pool

// getScratch returns an empty buffer for at least n bytes.
func getScratch(n int) *[]byte {
	for i, size := range scratchSizes {
		if n > size {
			continue
		}
		if b, ok := scratches[i].Get().(*[]byte); ok {
			return b
		}
		n = size
		break
	}
	b := make([]byte, 0, n)
	return &b
}

// putScratch takes a buffer back; one of another size is left to the collector.
func putScratch(b *[]byte) {
	for i, size := range scratchSizes {
		if cap(*b) == size {
			*b = (*b)[:0]
			scratches[i].Put(b)
			return
		}
	}
}
