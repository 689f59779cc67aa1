package cluster

import (
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// watchedStores passes raft's writes on until one fails. From then on the
// store may be neither written nor believed (a failed fsync can't be
// repeated), so the member stops, and what raft does until it is shut down
// must not harm:
//
//   - a write to the log fails at once with the first error;
//   - a write to the stable store, upon whose error raft would panic, blocks
//     until the member is closing. Then it pretends, which can't matter any
//     more: the transport is closed before, so that no vote leaves this node,
//     and nothing gets into the log.
type watchedStores struct {
	raft.LogStore
	raft.StableStore
	busy    *stall
	fail    func(error)
	closing <-chan struct{}

	mu    sync.Mutex
	first error // guarded by mu
}

func (w *watchedStores) write(what string, f func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first != nil {
		return w.first
	}
	defer w.busy.begin()()
	if err := guard(f); err != nil {
		w.first = fmt.Errorf("%s: %w", what, err)
		w.fail(w.first)
	}
	return w.first
}

func (w *watchedStores) set(f func() error) error {
	if err := w.write("write raft's stable store", f); err != nil {
		<-w.closing
	}
	return nil
}

// StoreLog implements raft.LogStore.
func (w *watchedStores) StoreLog(l *raft.Log) error {
	return w.write("write the raft log", func() error { return w.LogStore.StoreLog(l) })
}

// StoreLogs implements raft.LogStore.
func (w *watchedStores) StoreLogs(ls []*raft.Log) error {
	return w.write("write the raft log", func() error { return w.LogStore.StoreLogs(ls) })
}

// DeleteRange implements raft.LogStore.
func (w *watchedStores) DeleteRange(from, to uint64) error {
	return w.write("cut the raft log", func() error { return w.LogStore.DeleteRange(from, to) })
}

// Set implements raft.StableStore.
func (w *watchedStores) Set(key, val []byte) error {
	return w.set(func() error { return w.StableStore.Set(key, val) })
}

// SetUint64 implements raft.StableStore.
func (w *watchedStores) SetUint64(key []byte, val uint64) error {
	return w.set(func() error { return w.StableStore.SetUint64(key, val) })
}

// watchedMachine notes how long the state takes for commands.
type watchedMachine struct {
	*machine
	busy *stall
}

var _ raft.BatchingFSM = watchedMachine{}

// Apply implements raft.FSM.
func (w watchedMachine) Apply(l *raft.Log) any { return w.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM.
func (w watchedMachine) ApplyBatch(logs []*raft.Log) []any {
	defer w.busy.begin()()
	return w.machine.ApplyBatch(logs)
}
