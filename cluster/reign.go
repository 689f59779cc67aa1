package cluster

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"
)

// reigning does what a leader does for the group, as long as this member leads,
// until it is closing. What it does needs the group's majority, so that one
// that only believes to lead does no harm.
func (m *Member) reigning() {
	tick := time.NewTicker(m.config.Autopilot.Interval)
	defer tick.Stop()
	ap := autopilot.New(m.raft, &pilot{m},
		autopilot.WithLogger(newRaftLogger(m.logger)),
		autopilot.WithPromoter(&promoter{voters: m.config.Autopilot.Voters}),
		autopilot.WithUpdateInterval(m.config.Autopilot.Interval),
		autopilot.WithReconcileInterval(m.config.Autopilot.Interval))
	ctx, cancel := context.WithCancel(m.life)
	defer cancel()
	reign := uint64(0) // the term in which it leads; 0: it does not
	for {
		changed := m.leadership.wait()
		term := uint64(0)
		if m.leads() {
			term = m.raft.CurrentTerm()
		}
		if term != reign { // another term is another reign, also if nothing was seen between
			if reign != 0 {
				<-ap.Stop()
				m.reigned.Store(nil)
			}
			if reign = term; reign != 0 {
				now := time.Now()
				m.reigned.Store(&now)
				ap.Start(ctx)
			}
		}
		select {
		case <-changed:
			continue
		case <-tick.C:
		case <-m.failed:
			<-ap.Stop()
			return
		case <-m.closing:
			<-ap.Stop()
			return
		}
		if reign != 0 {
			m.tidy()
		}
	}
}

// tidy makes raft's configuration agree with the metadata: what an earlier
// leader did not get to, and addresses that have changed.
func (m *Member) tidy() {
	servers := m.servers()
	m.answers.keep(servers)
	for _, s := range servers {
		n := m.roster.node(string(s.ID))
		var err error
		switch {
		case n == nil:
		case n.Removed:
			err = m.run(m.life, func() error { return m.dismiss(n.Identity) })
		case n.Raft != "" && s.Address != streamAddr{n.Identity, n.Raft}.server():
			err = m.place(m.life, n.Identity, n.Raft)
		}
		if err != nil {
			m.logger.Info("the raft group could not be changed, trying again", "identity", s.ID, "err", err)
			return
		}
	}
}

// reignSince returns when this member began to lead; now if it has not noticed
// yet.
func (m *Member) reignSince() time.Time {
	if t := m.reigned.Load(); t != nil {
		return *t
	}
	return time.Now()
}

// silence returns for how long nothing was heard of a member, or since this one
// leads.
func (m *Member) silence(id raft.ServerID) time.Duration {
	since := m.reignSince()
	if c, ok := m.contact(id); ok && c.at.After(since) {
		since = c.at
	}
	return time.Since(since)
}
