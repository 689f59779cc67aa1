package cluster

import (
	"sync"

	"github.com/hashicorp/raft"
)

// leadership tells when raft's idea of who leads may have changed.
type leadership struct {
	mu      sync.Mutex
	changed signal
}

func (l *leadership) wait() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed.wait()
}

func (l *leadership) fire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed.fire()
}

// watchLeadership fires until the member is closing. Raft drops observations
// rather than wait for us; what is in the channel then still fires.
func (m *Member) watchLeadership() {
	seen := make(chan raft.Observation, 16)
	observer := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	m.raft.RegisterObserver(observer)
	defer m.raft.DeregisterObserver(observer)
	for over := false; !over; {
		m.heedLeadership()
		select {
		case <-seen:
		case <-m.failed:
			over = true
		case <-m.closing:
			over = true
		}
	}
	m.heedLeadership()
}

// heedLeadership tells all who care that who leads may have changed.
func (m *Member) heedLeadership() {
	leads := 0.0
	if m.leads() {
		leads = 1
	}
	m.metrics.leads.Set(leads)
	m.leadership.fire()
	m.keeper.publish()
}

// leader returns the identity of who leads as far as this member knows, empty
// if it knows of nobody, and what is closed when that may have changed.
func (m *Member) leader() (identity string, changed <-chan struct{}) {
	changed = m.leadership.wait()
	if !m.started() {
		return "", changed
	}
	_, id := m.raft.LeaderWithID()
	return string(id), changed
}

// started tells whether raft runs: others may ask before.
func (m *Member) started() bool {
	select {
	case <-m.ready:
		return true
	default:
		return false
	}
}

// leads tells whether raft takes this member for the leader. Only a
// confirmation makes it sure.
func (m *Member) leads() bool { return m.started() && m.raft.State() == raft.Leader }
