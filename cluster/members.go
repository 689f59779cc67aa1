package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"
)

// Role is what a member may do in the group.
type Role string

// The roles. A member that is staging becomes a voter once it has caught up.
const (
	RoleVoter    Role = "voter"
	RoleNonVoter Role = "non-voter"
	RoleStaging  Role = "staging"
)

// MemberInfo tells about a member of the raft group. What only the leader hears
// of the others is known there only.
type MemberInfo struct {
	Identity string
	Name     string
	Raft     string // where raft reaches it
	Role     Role
	Leader   bool
	// Contact is when it was last heard of; zero: not known here.
	Contact time.Time
	// Index is the last raft index that it had then, and Trails how many more
	// this member has; both 0 if not known here.
	Index, Trails uint64
}

// Leader returns the identity of who leads as far as this member knows, empty
// if it knows of nobody.
func (m *Member) Leader() string {
	identity, _ := m.leader()
	return identity
}

// Leads tells whether raft takes this member for the leader. Only a Confirm
// makes sure.
func (m *Member) Leads() bool { return m.leads() }

// Members returns the members of the raft group as this member knows it, in the
// order in which they came.
func (m *Member) Members() []MemberInfo {
	leader, last := m.Leader(), m.raft.LastIndex()
	var out []MemberInfo
	for _, s := range m.servers() {
		identity := string(s.ID)
		i := MemberInfo{Identity: identity, Name: nameOf(identity), Role: roleOf(s), Leader: identity == leader}
		if a, ok := parseStreamAddr(s.Address); ok {
			i.Raft = a.hostPort
		}
		if c, ok := m.contact(s.ID); ok {
			i.Contact, i.Index, i.Trails = c.at, c.last, last-min(last, c.last)
		}
		out = append(out, i)
	}
	return out
}

func roleOf(s raft.Server) Role {
	switch s.Suffrage {
	case raft.Voter:
		return RoleVoter
	case raft.Nonvoter:
		return RoleNonVoter
	}
	return RoleStaging
}

// contact returns when a member was last heard of, by this one as the leader.
func (m *Member) contact(id raft.ServerID) (answered, bool) {
	if string(id) == m.me.Identity {
		return answered{at: time.Now(), last: m.raft.LastIndex()}, true
	}
	if !m.leads() {
		return answered{}, false
	}
	return m.answers.get(id)
}

// wellHeartbeats is for how many of Config.Heartbeat, in which a member that is
// well answers five to ten times each, one may be silent and still count as well.
const wellHeartbeats = 2

// well tells whether a member answers this one, the leader.
func (m *Member) well(id raft.ServerID) bool {
	c, ok := m.contact(id)
	return ok && time.Since(c.at) < wellHeartbeats*m.config.Heartbeat
}

// TransferLeader makes another voter the leader, any if identity is empty, and
// returns once it is no longer this member. Only the leader can do it:
// *NotLeaderError. Other errors are *MemberError if there is no such voter,
// ErrBusy, ErrClosed, ErrFailed, and what raft says; then this member may lead
// on.
func (m *Member) TransferLeader(ctx context.Context, identity string) error {
	if err := m.usable(ctx); err != nil {
		return err
	}
	if !m.leads() {
		return &NotLeaderError{Leader: m.Leader()}
	}
	if identity == m.me.Identity {
		return nil
	}
	target, voters := raft.Server{}, 0
	for _, s := range m.servers() {
		if s.Suffrage == raft.Voter {
			voters++
			if string(s.ID) == identity {
				target = s
			}
		}
	}
	switch {
	case identity != "" && target.ID == "":
		return &MemberError{Identity: identity, Reason: "is not a voter, so it can't lead"}
	case voters < 2:
		return &MemberError{Identity: m.me.Identity, Reason: "is the only voter: no other one can lead"}
	}
	err := m.run(ctx, func() error {
		if identity == "" {
			return m.raft.LeadershipTransfer().Error()
		}
		return m.raft.LeadershipTransferToServer(target.ID, target.Address).Error()
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader):
		return &NotLeaderError{Leader: m.Leader()}
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return ErrBusy
	}
	return fmt.Errorf("transfer leadership: %w", err)
}

// Snapshot writes the metadata to w, confirmed to be as recent as the call. It
// ends in a checksum; fsm.Restore reads it.
func (m *Member) Snapshot(ctx context.Context, w io.Writer) error {
	if err := m.Confirm(ctx); err != nil {
		return err
	}
	snap, err := m.machine.Snapshot()
	if err != nil {
		return err
	}
	_, err = snap.(*snapshot).frozen.WriteTo(w)
	return err
}
