package cluster

import "sync"

// watermark is an index that only rises, and can be waited for.
type watermark struct {
	mu     sync.Mutex
	index  uint64
	raised signal
}

func (w *watermark) raise(index uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if index <= w.index {
		return
	}
	w.index = index
	w.raised.fire()
}

// look returns the index, and what is closed at the next rise.
func (w *watermark) look() (index uint64, raised <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.index, w.raised.wait()
}
