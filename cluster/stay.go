package cluster

import (
	"context"
	"time"
)

// aloneMax is how many heartbeats a member hears nothing of a leader before it
// asks whether it still is a member.
const aloneMax = 5

// stay looks after this node's own membership until the member is closing: it
// fails the member once the node was removed, keeps those who were removed from
// talking to raft, and asks what has become of it when it hears of no leader.
// One that was removed while it was cut off hears nothing ever after.
func (m *Member) stay() {
	tick := time.NewTicker(m.config.Heartbeat)
	defer tick.Stop()
	dropped := make(map[string]bool)
	for {
		changed := m.Changed()
		if !m.heedRemovals(dropped) {
			return
		}
		select {
		case <-changed:
			continue
		case <-tick.C:
		case <-m.failed:
			return
		case <-m.closing:
			return
		}
		if m.leads() || time.Since(m.raft.LastContact()) < aloneMax*m.config.Heartbeat {
			continue
		}
		ctx, cancel := context.WithTimeout(m.life, knockTimeout)
		answer, err := m.knock(ctx)
		cancel()
		switch {
		case err != nil:
			m.ring()
		case answer.Refusal == RefusalRemoved:
			m.removed()
			return
		}
	}
}

// heedRemovals returns false if this node was removed.
func (m *Member) heedRemovals(dropped map[string]bool) bool {
	m.View(m.roster.refresh)
	for identity, n := range m.roster.all() {
		switch {
		case !n.Removed || dropped[identity]:
		case identity == m.me.Identity:
			m.removed()
			return false
		default:
			dropped[identity] = true
			m.streams.drop(identity)
		}
	}
	return true
}
