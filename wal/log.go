package wal

import (
	"context"
	"fmt"
	"sync"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/wal/api"
)

// log is one log as this node writes and reads it.
type log struct {
	id   fragment.LogID
	name string

	// gate is held by whoever changes where the log stands beyond a batch:
	// loading, attaching, opening an exclusive writer. Appends wait for it
	// only when they need to: see shut.
	gate gate

	mu      sync.Mutex
	limits  fragment.Limits
	deleted bool
	loaded  bool                // the fields below say where the log stands
	seen    fragment.Attachment // of the last extent when it was loaded
	empty   bool                // the chain of that extent holds nothing of the log
	// chain is the one that the log is attached to; nil if it is not, or no
	// more. Then assigned == durable.
	chain      *chain
	attachment fragment.Attachment
	generation fragment.Generation // 0: not exclusive
	assigned   fragment.LSN        // the next LSN to give out; durable <= assigned
	durable    fragment.LSN        // durable tail
	time       fragment.Micros     // of the last batch
	last       uint64              // the latest fragment of chain that holds something of the log
	producers  producers
	shut       chan struct{} // while not nil, appends wait for its close
	moved      chan struct{} // closed and replaced whenever a follower may go on
}

func newLog(m *fsm.Log) *log {
	return &log{id: m.ID, name: m.Name, limits: limitsOf(m.Config), moved: make(chan struct{}), gate: make(gate, 1)}
}

// gate is a lock that one can stop waiting for: who holds it may wait for the
// store.
type gate chan struct{}

func (g gate) lock(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: the log is being attached, or opened for an exclusive writer: %w", api.ErrUnavailable, ctx.Err())
	}
}

func (g gate) unlock() { <-g }

func limitsOf(c fsm.LogConfig) fragment.Limits {
	return fragment.Limits{EntryBytesMax: int(c.EntryBytesMax)}
}

// wake lets everybody who waits for the log look again.
func (l *log) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wakeLocked()
}

func (l *log) wakeLocked() {
	close(l.moved)
	l.moved = make(chan struct{})
}

// durable takes in that a fragment became durable. It is called in order, and
// before anything in the fragment is acknowledged.
func (s *Service) durable(f *fragment.Frozen) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, slice := range f.Directory.Slices {
		l := s.logs[slice.Log]
		if l == nil {
			continue // deleted
		}
		l.mu.Lock()
		if l.attachment == slice.Attachment {
			l.durable = slice.End()
			l.wakeLocked()
		}
		l.mu.Unlock()
	}
}

// log finds a log that exists. Errors: ErrDeleted, ErrNotFound.
func (s *Service) log(id fragment.LogID) (*log, error) {
	s.mu.RLock()
	l, closed := s.logs[id], s.closed
	s.mu.RUnlock()
	if closed {
		return nil, api.ErrClosed
	}
	if l != nil {
		return l, nil
	}
	var m *fsm.Log
	var highest fragment.LogID
	s.cfg.Meta.View(func(st *fsm.State) {
		m, _ = st.Log(id)
		highest = st.HighestLog()
	})
	switch {
	case m == nil && id != 0 && id <= highest:
		return nil, fmt.Errorf("log %d: %w", id, api.ErrDeleted)
	case m == nil:
		return nil, fmt.Errorf("log %d: %w", id, api.ErrNotFound)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l = s.logs[id]; l == nil {
		// It may have been deleted since; then it must not come back.
		if _, err := s.meta(id); err != nil {
			return nil, err
		}
		l = newLog(m)
		s.logs[id] = l
	}
	return l, nil
}

// meta returns what the metadata says of a log.
func (s *Service) meta(id fragment.LogID) (*fsm.Log, error) {
	var m *fsm.Log
	s.cfg.Meta.View(func(st *fsm.State) { m, _ = st.Log(id) })
	if m == nil {
		return nil, fmt.Errorf("log %d: %w", id, api.ErrDeleted)
	}
	return m, nil
}

// load learns where a log stands that is not attached: from the seals of the
// chains that held it last. It takes the gate.
func (s *Service) load(ctx context.Context, l *log) error {
	l.mu.Lock()
	c, loaded := l.chain, l.loaded
	l.mu.Unlock()
	if loaded && (c == nil || s.alive(c) || s.Err() != nil) {
		return nil // after a failure, what is known to be durable stays readable
	}
	if err := l.gate.lock(ctx); err != nil {
		return err
	}
	defer l.gate.unlock()
	return s.loadGated(ctx, l)
}

// loadGated is load for who holds the gate.
func (s *Service) loadGated(ctx context.Context, l *log) error {
	l.mu.Lock()
	c, loaded := l.chain, l.loaded
	l.mu.Unlock()
	switch {
	case c == nil && loaded || c != nil && s.alive(c):
		return nil
	case s.Err() == nil:
		// A chain is over: wait for its seal to be committed. While there is
		// a current one, every other is sealed.
		if _, err := s.current(ctx); err != nil {
			return err
		}
	}
	m, err := s.meta(l.id)
	if err != nil {
		return err
	}
	state, empty, err := s.stateOf(ctx, m)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	last, _ := m.Last()
	l.chain, l.attachment, l.loaded, l.seen, l.empty = nil, 0, true, last.Attachment, empty
	l.limits, l.generation = limitsOf(m.Config), m.Generation
	l.assigned, l.durable, l.time = state.End, state.End, max(l.time, state.Time)
	l.producers = newProducers(state, s.cfg.AnonymousProducersMax)
	l.wakeLocked()
	return nil
}

// alive says whether a chain still takes batches.
func (s *Service) alive(c *chain) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.chain == c && !s.closed
}

// stateOf reads where a log ended from the index of the chain of its last
// extent; if nothing of the log is there, it ended where that extent begins,
// and its producers are those of the extent before. empty says that the last
// extent holds nothing, so that the next may replace it.
func (s *Service) stateOf(ctx context.Context, m *fsm.Log) (state fragment.LogState, empty bool, err error) {
	end := m.First
	for i := len(m.Extents) - 1; i >= 0; i-- {
		x := m.Extents[i]
		end = max(end, x.First, x.End)
		v, err := s.view(x.Epoch)
		if err != nil {
			return fragment.LogState{}, false, err
		}
		if v.Sealed == nil {
			return fragment.LogState{}, false, fmt.Errorf("%w: log %q is held by chain %d, which is not sealed yet", api.ErrUnavailable, m.Name, uint64(x.Epoch))
		}
		index, err := s.reader.Final(ctx, v)
		if err != nil {
			return fragment.LogState{}, false, fmt.Errorf("%w: read where log %q ends: %w", api.ErrUnavailable, m.Name, err)
		}
		if st, ok := index.State(m.ID); ok && st.Attachment >= x.Attachment {
			st.End = max(st.End, end)
			return st.Clone(), empty, nil
		}
		empty = empty || i == len(m.Extents)-1
	}
	return fragment.LogState{Log: m.ID, End: end}, empty, nil
}
