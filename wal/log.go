package wal

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/wal/api"
)

// log is one log as this node writes and reads it.
type log struct {
	id   fragment.LogID
	name string

	// gate is held by whoever changes where the log stands beyond a batch:
	// loading, attaching, detaching, opening an exclusive writer. Appends wait
	// for it only when they need to: see shut.
	gate gate

	mu      sync.Mutex
	limits  fragment.Limits
	version uint64 // of the configuration that limits are of
	deleted bool
	loaded  bool                // the fields below say where the log stands, or stood when it was seen last
	seen    fragment.Attachment // of the last extent when it was loaded
	empty   bool                // the chain of that extent holds nothing of the log
	// chain is the one of this node that the log is attached to, also while
	// that is being sealed; nil if it is on none. Then assigned == durable.
	chain      *chain
	attachment fragment.Attachment
	generation fragment.Generation // 0: not exclusive
	assigned   fragment.LSN        // the next LSN to give out; durable <= assigned
	durable    fragment.LSN        // durable tail
	time       fragment.Micros     // of the last batch
	last       uint64              // the latest fragment of chain that holds something of the log
	producers  producers
	shut       chan struct{} // while not nil, appends wait for its close
	turn       uint64        // counts how often the log was handed over to another node
	tended     time.Time     // when upkeep last did something about it
	load       meter
	moved      chan struct{} // closed and replaced whenever a follower may go on
	heard      heard         // where durable comes from while chain is nil
	current    time.Time     // when durable was all there was, at the latest that is sure
	asks       rounds[fragment.LSN]
}

func newLog(m *fsm.Log) *log {
	return &log{
		id: m.ID, name: m.Name, limits: limitsOf(m.Config), version: m.ConfigVersion,
		moved: make(chan struct{}), gate: make(gate, 1),
	}
}

// gate is a lock that one can stop waiting for: who holds it may wait for the
// store. It may be unlocked by another goroutine than the one that locked it.
type gate chan struct{}

func (g gate) lock(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: the log is being attached, handed over, or opened for an exclusive writer: %w", api.ErrUnavailable, ctx.Err())
	}
}

func (g gate) unlock() { <-g }

func limitsOf(c fsm.LogConfig) fragment.Limits {
	return fragment.Limits{EntryBytesMax: int(c.EntryBytesMax)}
}

// home is the chain of this node that the log is attached to, if any.
func (l *log) home() *chain {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.chain
}

// latest is the latest fragment that holds something of the log.
func (l *log) latest() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// visit begins a call that is not to bring the log back here after it was
// handed over meanwhile: see back.
func (l *log) visit() (turn uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.turn
}

// back returns an error if the log was handed over since visit.
func (l *log) back(turn uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turn != turn {
		return fmt.Errorf("log %q was handed over to another node: %w", l.name, api.ErrMoved)
	}
	return nil
}

// close makes appends wait until open.
func (l *log) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shut = make(chan struct{})
}

func (l *log) isShut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shut != nil
}

func (l *log) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.shut)
	l.shut = nil
}

// detached takes in that the log's stay on its chain is over, and all of it
// durable. Where the log stands is known until another node attaches it.
func (l *log) detached() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.chain == nil {
		return // deleted
	}
	l.chain.logs.Add(-1)
	l.loaded, l.seen, l.empty = true, l.attachment, false
	l.chain, l.attachment = nil, 0
}

// vacated takes in that the seal of a chain is committed. False: the log was
// not on it.
func (l *log) vacated(c *chain) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.chain != c {
		return false
	}
	c.logs.Add(-1)
	l.loaded, l.chain, l.attachment = false, nil, 0
	return true
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
func (s *Service) log(ctx context.Context, id fragment.LogID) (*log, error) {
	l, err := s.logHere(id)
	if !is(api.ErrNotFound)(err) || is(api.ErrDeleted)(err) {
		return l, err
	}
	// It may have been created elsewhere, and this node not have heard of it.
	if err := s.confirm(ctx); err != nil {
		return nil, err
	}
	return s.logHere(id)
}

// logHere finds a log that exists as far as this node knows.
func (s *Service) logHere(id fragment.LogID) (*log, error) {
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

// meta returns what the metadata say of a log.
func (s *Service) meta(id fragment.LogID) (*fsm.Log, error) {
	var m *fsm.Log
	s.cfg.Meta.View(func(st *fsm.State) { m, _ = st.Log(id) })
	if m == nil {
		return nil, fmt.Errorf("log %d: %w", id, api.ErrDeleted)
	}
	return m, nil
}
