package cluster

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/wpd-io/wpd/fsm"
)

// ServeJoin is Peers.Join at the member that was asked. The leader takes the
// node into the group, without a vote at first, or notes its new address.
//
// A node whose data directory was wiped comes back under its name as another
// identity. If the former one is gone, its lease having lapsed and nothing
// having been heard of it, this removes it, as Remove does: nobody else can
// tell that the name's owner has given it up. While the former one is alive,
// the newcomer is refused.
//
// Errors are those of Confirm at a leader: ErrNotLeader, ErrBusy, ErrClosed,
// ErrFailed; *RefusedError for a request that no node makes; *UncertainError;
// and of Remove, *QuorumError while too few would be left without the former
// one. It may be asked again after any of them.
func (m *Member) ServeJoin(ctx context.Context, r JoinRequest) (Joined, error) {
	if !m.config.networked() {
		return Joined{}, &RefusedError{Reason: "this node is alone, and has no address for raft"}
	}
	if err := checkJoin(r); err != nil {
		return Joined{}, err
	}
	select {
	case m.joining <- struct{}{}:
		defer func() { <-m.joining }()
	case <-ctx.Done():
		return Joined{}, context.Cause(ctx)
	}
	term, err := m.confirmHere(ctx)
	if err != nil {
		return Joined{}, err
	}
	if answer, err := m.judgeJoin(ctx, term, r); answer.Refusal != RefusalNone || err != nil {
		return answer, err
	}
	return Joined{}, m.place(ctx, r.Identity, r.Raft)
}

func checkJoin(r JoinRequest) error {
	err := fsm.CheckNodeName("identity", r.Identity)
	switch {
	case err != nil:
	case r.Name == "" || r.Name != nameOf(r.Identity):
		err = &fsm.InvalidError{Field: "name", Reason: fmt.Sprintf("%.300q does not belong to identity %s", r.Name, r.Identity)}
	case r.Raft == "" || len(r.Raft) > metaAddressMax:
		err = &fsm.InvalidError{Field: "raft address", Reason: fmt.Sprintf("has %d bytes, the range is 1 to %d", len(r.Raft), metaAddressMax)}
	default:
		return nil
	}
	return &RefusedError{Reason: err.Error()}
}

// judgeJoin decides whether a node may be a member, in a term in which this one
// was confirmed to lead.
func (m *Member) judgeJoin(ctx context.Context, term uint64, r JoinRequest) (Joined, error) {
	removed, name := false, ""
	m.View(func(s *fsm.State) {
		if n, ok := s.Node(r.Identity); ok {
			removed = n.Removed
		}
		if n, ok := s.NodeByName(r.Name); ok {
			name = n.Identity
		}
	})
	if removed {
		return Joined{Refusal: RefusalRemoved}, nil
	}
	shown, err := showsBoot(ctx, m.config.Bucket, m.me.Cluster, r.Identity, shownBoot{r.Boot, r.Nonce})
	if err != nil {
		m.logger.Warn("a node that asks to join could not be looked up in the bucket", "identity", r.Identity, "err", err)
		return Joined{}, ErrBusy
	}
	if !shown {
		return Joined{Refusal: RefusalBucket}, nil
	}
	for _, holder := range m.namesakes(r, name) {
		switch alive, err := m.alive(term, holder); {
		case err != nil:
			return Joined{}, err
		case alive:
			return Joined{Refusal: RefusalName, Holder: holder}, nil
		}
		if err := m.Remove(ctx, holder); err != nil {
			return Joined{}, err
		}
		m.logger.Warn("a node was replaced by a new one of its name", "identity", holder, "by", r.Identity)
	}
	return Joined{}, nil
}

// namesakes returns the other members with a node's name: the one that the
// metadata knows, and those of raft's that never got as far as that.
func (m *Member) namesakes(r JoinRequest, registered string) (out []string) {
	if registered != "" && registered != r.Identity {
		out = append(out, registered)
	}
	for _, s := range m.servers() {
		id := string(s.ID)
		if id != registered && id != r.Identity && nameOf(id) == r.Name {
			out = append(out, id)
		}
	}
	return out
}

// alive tells whether a member may still hold a lease, or was heard of since one
// would have lapsed: one that is not, is gone. What was seen in an earlier reign
// counts for nothing. A *NotLeaderError says that the term is over.
func (m *Member) alive(term uint64, identity string) (alive bool, err error) {
	if identity == m.me.Identity {
		return true, nil
	}
	t := m.table
	err = t.inTerm(term, func() error {
		now := t.clock.now().mono
		alive = t.aliveLocked(identity, now) || now-t.since < t.ttl
		return nil
	})
	return alive || m.silence(raft.ServerID(identity)) < m.config.TTL, err
}

// place puts a server into raft's configuration, or its new address.
func (m *Member) place(ctx context.Context, identity, at string) error {
	id, address := raft.ServerID(identity), streamAddr{identity, at}.server()
	add := m.raft.AddNonvoter
	for _, s := range m.servers() {
		if s.ID != id {
			continue
		}
		if s.Address == address {
			return nil
		}
		if s.Suffrage == raft.Voter {
			add = m.raft.AddVoter // which only changes the address
		}
	}
	m.logger.Info("a node is put into the raft group", "identity", identity, "addr", at)
	return m.run(ctx, func() error {
		if err := add(id, address, 0, enqueueTimeout).Error(); err != nil {
			return m.raftError(err)
		}
		return nil
	})
}
