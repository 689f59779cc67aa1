package cluster

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Standing is what the leader knows of a node beside the metadata.
type Standing struct {
	Identity string
	Age      time.Duration // since the leader answered its last renewal
	Alive    bool          // that is less than a TTL
	Applied  uint64        // raft index that it had applied then
	Report   Report
}

// Standings returns, by identity, what the leader knows of the nodes that have
// renewed since it leads. It needs this member to lead, else its error is an
// ErrNotLeader.
func (m *Member) Standings(ctx context.Context) (all []Standing, err error) {
	err = m.asLeader(ctx, func(t *table) error {
		now := t.clock.now().mono
		for identity, n := range t.nodes {
			all = append(all, Standing{
				Identity: identity, Age: now - n.answered, Alive: t.aliveLocked(identity, now),
				Applied: n.applied, Report: n.report,
			})
		}
		return nil
	})
	slices.SortFunc(all, func(a, b Standing) int { return cmp.Compare(a.Identity, b.Identity) })
	return all, err
}
