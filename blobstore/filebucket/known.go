package filebucket

import "sync"

// knownMax bounds one generation of the files known durable: 2 × 32,768 IDs of
// 16 bytes are about 2 MiB with the map's overhead. A file that has dropped out
// costs one fstat of its directory, or one fsync, when it is read next.
const knownMax = 32768

// known remembers files whose directory entry is durable, in two generations:
// when the younger is full, it becomes the older, and that one is forgotten.
type known struct {
	mu         sync.Mutex
	young, old map[ID]struct{}
}

func (k *known) add(id ID) {
	if id == (ID{}) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.young == nil || len(k.young) >= knownMax {
		k.old, k.young = k.young, make(map[ID]struct{})
	}
	k.young[id] = struct{}{}
}

func (k *known) has(id ID) bool {
	if id == (ID{}) {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.young[id]; ok {
		return true
	}
	_, ok := k.old[id]
	return ok
}
