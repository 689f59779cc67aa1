package cluster

import "sync"

// watermark is an index that only rises, and can be waited for.
type watermark struct {
	mu     sync.Mutex
	index  uint64
	raised chan struct{} // closed at the next rise; nil while nobody waits
}

func (w *watermark) raise(index uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if index <= w.index {
		return
	}
	w.index = index
	if w.raised != nil {
		close(w.raised)
		w.raised = nil
	}
}

// wait returns true once the index is reached, false if one of the others is
// closed first.
func (w *watermark) wait(index uint64, closing, failed <-chan struct{}) bool {
	for {
		w.mu.Lock()
		if w.index >= index {
			w.mu.Unlock()
			return true
		}
		if w.raised == nil {
			w.raised = make(chan struct{})
		}
		raised := w.raised
		w.mu.Unlock()
		select {
		case <-raised:
		case <-closing:
			return false
		case <-failed:
			return false
		}
	}
}
