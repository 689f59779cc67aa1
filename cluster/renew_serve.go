package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
)

// ServeRenew is Peers.Renew at the member that was asked. It answers once it has
// confirmed, after the renewal came, that it leads, and has applied all that was
// committed before. A node that is unknown or removed, an earlier or later boot
// than the metadata knows, and another incarnation are refused.
func (m *Member) ServeRenew(ctx context.Context, r Renewal) (Renewed, error) {
	answer, err := m.serveRenew(ctx, r)
	m.metrics.lease.served.WithLabelValues(peerOutcome(err)).Inc()
	return answer, err
}

func (m *Member) serveRenew(ctx context.Context, r Renewal) (answer Renewed, err error) {
	err = m.asLeader(ctx, func(t *table) (err error) {
		// What is read here is at least as new as the confirmation. It may be
		// newer, and a seal that is under way but not applied is in the table.
		m.View(func(s *fsm.State) {
			if err = refusal(s, r); err == nil {
				answer = t.answerLocked(s, r)
			}
		})
		return err
	})
	return answer, err
}

// refusal says why a renewal is not for this state, nil if it is.
func refusal(s *fsm.State, r Renewal) error {
	n, ok := s.Node(r.Identity)
	var reason string
	switch incarnation := s.Cluster().Incarnation; {
	case !ok:
		reason = fmt.Sprintf("node %.300q is unknown", r.Identity)
	case n.Removed:
		reason = fmt.Sprintf("node %s was removed", r.Identity)
	case n.Boot != r.Boot:
		reason = fmt.Sprintf("boot %d of node %s is not its latest, %d", r.Boot, r.Identity, n.Boot)
	case incarnation != r.Incarnation:
		reason = fmt.Sprintf("node %s is at incarnation %d of the metadata, not %d", r.Identity, r.Incarnation, incarnation)
	default:
		return nil
	}
	return &RefusedError{Reason: reason}
}

// answerLocked renews what may be renewed of a node's, and notes what it told.
func (t *table) answerLocked(s *fsm.State, r Renewal) Renewed {
	now := t.clock.now()
	n := t.nodes[r.Identity]
	if n == nil || n.boot != r.Boot {
		n = &standing{boot: r.Boot}
		t.nodes[r.Identity] = n
	}
	n.hear(r, now)
	durable := make(map[fragment.Epoch]uint64, len(r.Report.Chains))
	for _, c := range r.Report.Chains {
		durable[c.Epoch] = c.Durable
	}
	answer := Renewed{Clock: now.wall, Lease: t.ttl}
	for c := range s.Unsealed() {
		if c.Node != r.Identity || c.Boot != r.Boot {
			continue
		}
		w := t.watchLocked(c, now.mono)
		w.durable = max(w.durable, durable[c.Epoch])
		if c.State == fsm.ChainOpen && !w.ending {
			answer.Epochs = append(answer.Epochs, c.Epoch)
		}
	}
	for identity, n := range t.nodes {
		answer.Nodes = append(answer.Nodes, NodeAge{Identity: identity, Age: now.mono - n.answered})
	}
	slices.SortFunc(answer.Nodes, func(a, b NodeAge) int { return cmp.Compare(a.Identity, b.Identity) })
	t.heard.fire()
	return answer
}
