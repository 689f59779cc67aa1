package cluster

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// looksPerStall is how often the watchdog looks within Config.StallMax.
const looksPerStall = 8

// watchdog makes a leader that can't work give leadership up, until the member
// is closing. Raft's heartbeats go on while a disk hangs, so that the others
// would follow a leader that commits nothing.
//
// While a write of the raft log hangs, raft hangs with it and can hand nothing
// over: then all connections end, and the others elect another leader. Once the
// disk works again, this member finds that out and follows it. Work on the state
// that hangs leaves raft free to hand over.
func (m *Member) watchdog() {
	tick := time.NewTicker(m.config.StallMax / looksPerStall)
	defer tick.Stop()
	muted := false
	for {
		select {
		case <-tick.C:
		case <-m.failed:
			// Nothing that raft says now rests on a store that works.
			m.streams.mute(true)
			return
		case <-m.closing:
			return
		}
		disk := m.logBusy.lasts() > m.config.StallMax
		work := m.workBusy.lasts() > m.config.StallMax
		switch {
		case muted && !disk && !work:
			muted = false
			m.streams.mute(false)
			m.logger.Warn("this member works again, and speaks to the others")
		case muted || !m.leads() || !m.hasDeputy() || !disk && !work:
		case !disk && m.handOver():
		default:
			muted = true
			m.streams.mute(true)
			m.metrics.abdications.Inc()
			m.logger.Error("this leader can't work and gives leadership up by silence",
				"write", m.logBusy.lasts(), "apply", m.workBusy.lasts(), "limit", m.config.StallMax)
		}
	}
}

// hasDeputy tells whether there is another voter.
func (m *Member) hasDeputy() bool {
	for _, s := range m.servers() {
		if s.Suffrage == raft.Voter && string(s.ID) != m.me.Identity {
			return true
		}
	}
	return false
}

// handOver lets raft transfer leadership, and waits no longer for it than an
// election may take: raft, too, may hang by now.
func (m *Member) handOver() bool {
	done := make(chan error, 1)
	if !m.spawn(func() { done <- m.raft.LeadershipTransfer().Error() }) {
		return false
	}
	var err error
	select {
	case err = <-done:
	case <-time.After(2 * m.config.Heartbeat):
		err = context.DeadlineExceeded
	case <-m.closing:
		err = ErrClosed
	}
	if err != nil {
		m.logger.Warn("this leader can't work, and could not hand leadership over", "err", err)
		return false
	}
	m.metrics.abdications.Inc()
	m.logger.Error("this leader can't work and has handed leadership over", "apply", m.workBusy.lasts(), "limit", m.config.StallMax)
	return true
}
