package cluster

import (
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/wpd-io/wpd/fsm"
)

// machine is the fsm as raft wants it. Raft calls ApplyBatch, Snapshot,
// Restore and StoreConfiguration from one goroutine.
type machine struct {
	fail    func(error) // stops the member; the first call counts
	metrics *metrics
	passed  watermark // everything up to this raft index has been applied

	mu    sync.RWMutex
	state *fsm.State // guarded by mu
	// results are the latest ones, each at its raft index modulo their number,
	// for proposals that another member has put through raft. Empty in a group
	// of one. Guarded by mu.
	results []kept
	// broken is why the state must not go on: a command that can't be
	// applied was committed. Guarded by mu; never unset.
	broken error
}

var (
	_ raft.BatchingFSM        = (*machine)(nil)
	_ raft.ConfigurationStore = (*machine)(nil)
)

func newMachine(fail func(error), m *metrics) *machine {
	return &machine{fail: fail, metrics: m, state: fsm.New()}
}

// response is what raft hands back to the proposer.
type response struct {
	result fsm.Result
	err    error // the member has failed
}

// resultsKept is how many raft indexes a result stays for: far more than are
// applied between an answer of the leader and the wakeup of who waits for it.
// All of them take some 350 KiB.
const resultsKept = 4096

// kept is the response to the command at a raft index.
type kept struct {
	index uint64
	response
}

// keepResults makes the machine keep results from now on.
func (m *machine) keepResults() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.results = make([]kept, resultsKept)
}

// resultAt returns what became of the command at an index, if that is still
// known: a snapshot may have brought the state beyond it.
func (m *machine) resultAt(index uint64) (response, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if len(m.results) == 0 {
		return response{}, false
	}
	k := m.results[index%uint64(len(m.results))]
	return k.response, k.index == index
}

// view calls f with the state, which f must not keep.
func (m *machine) view(f func(*fsm.State)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	f(m.state)
}

// Apply implements raft.FSM.
func (m *machine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM. After a command that can't be
// applied it applies no other.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	m.mu.Lock()
	for i, l := range logs {
		r := m.applyLocked(l)
		if l.Type == raft.LogCommand && len(m.results) > 0 {
			m.results[l.Index%uint64(len(m.results))] = kept{index: l.Index, response: r}
		}
		out[i] = r
	}
	m.mu.Unlock()
	if n := len(logs); n > 0 {
		m.passed.raise(logs[n-1].Index)
	}
	return out
}

func (m *machine) applyLocked(l *raft.Log) response {
	if m.broken != nil {
		return response{err: m.broken}
	}
	if l.Type != raft.LogCommand {
		return response{}
	}
	c, err := openEnvelope(l.Index, l.Data)
	if err != nil {
		return response{err: m.breakLocked(err)}
	}
	r, err := m.state.Apply(l.Index, c)
	if err != nil {
		return response{err: m.breakLocked(err)}
	}
	m.metrics.committed(c)
	return response{result: r}
}

func (m *machine) breakLocked(err error) error {
	m.broken = fmt.Errorf("apply: %w", err)
	m.fail(m.broken)
	return m.broken
}

// StoreConfiguration implements raft.ConfigurationStore, only to see the
// index of a configuration entry pass.
func (m *machine) StoreConfiguration(index uint64, _ raft.Configuration) { m.passed.raise(index) }

// Snapshot implements raft.FSM.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		// The entry that can't be applied must stay in the raft log: a
		// snapshot that claimed to hold it would skip it.
		return nil, m.broken
	}
	return &snapshot{frozen: m.state.Freeze(), metrics: m.metrics}, nil
}

// Restore implements raft.FSM. An unreadable snapshot stops the member: raft
// would try an older one, which the log does not reach back to.
func (m *machine) Restore(r io.ReadCloser) error {
	state, err := fsm.Restore(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.broken = fmt.Errorf("restore: %w", err)
		m.fail(m.broken)
		return m.broken
	}
	m.state = state
	m.passed.raise(state.AppliedIndex())
	return nil
}

// snapshot implements raft.FSMSnapshot.
type snapshot struct {
	frozen  *fsm.Frozen
	metrics *metrics
}

// Persist implements raft.FSMSnapshot.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	n, err := persist(s.frozen, sink)
	if err == nil {
		s.metrics.snapshotBytes.Set(float64(n))
	}
	return err
}

// persist writes a snapshot to where raft keeps it, and returns its size.
func persist(f *fsm.Frozen, sink raft.SnapshotSink) (bytes int64, err error) {
	if bytes, err = f.WriteTo(sink); err != nil {
		_ = sink.Cancel() // what went wrong first is the error that counts
		return bytes, err
	}
	return bytes, sink.Close()
}

// Release implements raft.FSMSnapshot.
func (*snapshot) Release() {}
