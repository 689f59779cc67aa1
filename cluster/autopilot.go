package cluster

import (
	"context"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"
)

// trailsMax is how many raft indexes a member may be behind and still count as
// well.
const trailsMax = 256

// pilot tells raft-autopilot what it needs to know, and removes for it. It
// implements autopilot.ApplicationIntegration.
type pilot struct{ m *Member }

// AutopilotConfig implements autopilot.ApplicationIntegration.
func (p *pilot) AutopilotConfig() *autopilot.Config {
	c := p.m.config
	return &autopilot.Config{
		CleanupDeadServers:      c.Autopilot.RemoveDeadAfter > 0,
		LastContactThreshold:    wellHeartbeats * c.Heartbeat,
		MaxTrailingLogs:         trailsMax,
		ServerStabilizationTime: c.Autopilot.Stable,
	}
}

// NotifyState implements autopilot.ApplicationIntegration.
func (p *pilot) NotifyState(s *autopilot.State) {
	well := 0
	for _, server := range s.Servers {
		if server.Health.Healthy {
			well++
		}
	}
	p.m.metrics.members.Set(float64(len(s.Servers)))
	p.m.metrics.membersWell.Set(float64(well))
	p.m.metrics.tolerance.Set(float64(s.FailureTolerance))
}

// FetchServerStats implements autopilot.ApplicationIntegration. Raft's
// heartbeats tell all of it, but for the term of a member's last index: that is
// taken for the present one, in which the member has just answered. Nothing but
// the moment of a promotion rests on it.
func (p *pilot) FetchServerStats(_ context.Context, servers map[raft.ServerID]*autopilot.Server) map[raft.ServerID]*autopilot.ServerStats {
	out := make(map[raft.ServerID]*autopilot.ServerStats, len(servers))
	for id := range servers {
		stats := &autopilot.ServerStats{LastContact: p.m.silence(id), LastTerm: p.m.raft.CurrentTerm()}
		if c, ok := p.m.contact(id); ok {
			stats.LastIndex = c.last
		}
		out[id] = stats
	}
	return out
}

// KnownServers implements autopilot.ApplicationIntegration.
func (p *pilot) KnownServers() map[raft.ServerID]*autopilot.Server {
	m := p.m
	out := make(map[raft.ServerID]*autopilot.Server)
	for _, s := range m.servers() {
		n := m.roster.node(string(s.ID))
		if n != nil && n.Removed {
			continue // tidy sees to it
		}
		server := &autopilot.Server{
			ID: s.ID, Name: nameOf(string(s.ID)), Address: s.Address, RaftVersion: int(raft.ProtocolVersionMax),
			NodeStatus: autopilot.NodeAlive, NodeType: autopilot.NodeVoter, IsLeader: string(s.ID) == m.me.Identity && m.leads(),
		}
		if n != nil {
			server.Version = n.Version
		}
		if m.silence(s.ID) > m.config.Autopilot.RemoveDeadAfter && m.config.Autopilot.RemoveDeadAfter > 0 {
			server.NodeStatus = autopilot.NodeFailed
		}
		out[s.ID] = server
	}
	return out
}

// RemoveFailedServer implements autopilot.ApplicationIntegration.
func (p *pilot) RemoveFailedServer(s *autopilot.Server) {
	m := p.m
	m.spawn(func() {
		ctx, cancel := context.WithTimeout(m.life, enqueueTimeout)
		defer cancel()
		if err := m.Remove(ctx, string(s.ID)); err != nil {
			m.logger.Warn("a dead node could not be removed, trying again", "identity", s.ID, "err", err)
			return
		}
		m.logger.Warn("a node that was not heard of for long was removed", "identity", s.ID, "after", m.config.Autopilot.RemoveDeadAfter)
	})
}

// promoter gives votes to members that are well, as long as there are fewer
// voters than there should be.
type promoter struct {
	autopilot.StablePromoter
	voters int
}

// CalculatePromotionsAndDemotions implements autopilot.Promoter.
func (p *promoter) CalculatePromotionsAndDemotions(c *autopilot.Config, s *autopilot.State) autopilot.RaftChanges {
	changes := p.StablePromoter.CalculatePromotionsAndDemotions(c, s)
	slices.SortFunc(changes.Promotions, func(a, b raft.ServerID) int { return strings.Compare(string(a), string(b)) })
	vacant := max(0, p.voters-len(s.Voters))
	changes.Promotions = changes.Promotions[:min(vacant, len(changes.Promotions))]
	return changes
}
