package cluster

// initLeases makes what a member needs to work with others, or alone.
func (m *Member) initLeases() {
	m.confirms = rounds{m: m, run: m.confirmOnce}
	m.reign = rounds{m: m, run: m.confirm}
	m.keeper = newKeeper(&m.config, m.metrics.lease)
	m.renewing = newRenewing(m)
	m.table = newTable(m.keeper.clock, m.config.TTL)
	if !m.config.networked() {
		m.keeper.alone = func() bool { return m.usableNow() == nil && m.leads() }
		return
	}
	m.machine.keepResults()
}

// startLeases starts what goes on as long as the member is open. Raft runs.
func (m *Member) startLeases() {
	m.spawn(m.watchLeadership)
	if !m.config.networked() {
		m.metrics.members.Set(1) // itself; no autopilot counts
		m.metrics.membersWell.Set(1)
		return
	}
	m.spawn(m.renewing.run)
	m.spawn(m.lapsing)
	m.spawn(m.nudging)
}
