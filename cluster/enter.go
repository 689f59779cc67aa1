package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/wpd-io/wpd/fragment"
)

const (
	// knockInterval is how often a node that is no member asks for it, and
	// enterTick how often it looks whether it is one.
	knockInterval = 500 * time.Millisecond
	enterTick     = 20 * time.Millisecond
	// knockTimeout bounds one question to one member.
	knockTimeout = 5 * time.Second
)

// enter returns once this node is a member of a group, a leader is known, and
// all that was committed before is applied here.
func (m *Member) enter(ctx context.Context) error {
	if err := m.openGroup(); err != nil {
		return err
	}
	k := knocking{m: m, began: time.Now()}
	for {
		leader, changed := m.leader()
		if leader != "" && m.isMember() {
			return m.Confirm(ctx)
		}
		if err := k.step(ctx, leader); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-time.After(enterTick):
		case <-m.failed:
			return m.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait for a leader: %w", context.Cause(ctx))
		}
	}
}

// openGroup starts what a member with company needs.
func (m *Member) openGroup() error {
	if !m.config.networked() {
		return nil
	}
	if m.gossip.list == nil {
		if err := m.announce(meta{cluster: m.me.cluster}); err != nil {
			return err
		}
	}
	m.spawn(m.stay)
	m.spawn(m.reigning)
	m.spawn(m.watchdog)
	return m.wake()
}

// wake makes a member that has nobody to ask for votes elect itself at once: it
// would wait for others as long as any.
func (m *Member) wake() error {
	servers := m.servers()
	if len(servers) != 1 || string(servers[0].ID) != m.me.Identity {
		return nil
	}
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(m.me.Identity), Addr: []byte(m.streams.address.String())}
	return m.transport.TimeoutNow(servers[0].ID, m.streams.address.server(),
		&raft.TimeoutNowRequest{RPCHeader: header}, &raft.TimeoutNowResponse{RPCHeader: header})
}

// servers returns raft's latest configuration.
func (m *Member) servers() []raft.Server { return m.raft.GetConfiguration().Configuration().Servers }

func (m *Member) isMember() bool {
	return slices.ContainsFunc(m.servers(), func(s raft.Server) bool { return string(s.ID) == m.me.Identity })
}

// knocking is the wait of a node for a leader. One that is no member asks to
// become one; one that was a member asks whether it still is.
type knocking struct {
	m     *Member
	began time.Time
	said  time.Time
	last  time.Time // when it asked last
}

func (k *knocking) step(ctx context.Context, leader string) error {
	m := k.m
	if !m.config.networked() || time.Since(k.last) < knockInterval {
		return nil
	}
	if m.isMember() && time.Since(k.began) < 3*m.config.Heartbeat {
		return nil // an election takes a while
	}
	answer, err := m.knock(ctx)
	if err == nil {
		k.last = time.Now()
		return k.refused(answer)
	}
	m.ring()
	k.last = time.Now()
	if time.Since(k.began) >= waitLogEvery && time.Since(k.said) >= waitLogEvery {
		k.said = time.Now()
		m.logger.Info("waiting for the cluster", "member", m.isMember(), "leader", leader, "seen", identities(m.gossip.nodes()), "err", err)
	}
	return nil
}

// refused turns a refusal into an error. A name may be given free within
// moments: when the lease of its dead holder has lapsed.
func (k *knocking) refused(answer Joined) error {
	m := k.m
	switch answer.Refusal {
	case RefusalNone:
		return nil
	case RefusalRemoved:
		return m.removedError()
	case RefusalBucket:
		return &UnsharedBucketError{BucketURL: m.config.BucketURL, Key: fragment.BootKey(m.me.Identity, m.boot.Number), Writer: m.me.Identity}
	case RefusalName:
		if time.Since(k.began) < m.config.Patience {
			return nil
		}
		return &NameTakenError{Name: m.me.Name, Holder: answer.Holder}
	}
	return fmt.Errorf("the leader does not take this node, for reason %d that this version of wpd does not know", answer.Refusal)
}

func (m *Member) removedError() error {
	return &RemovedError{Identity: m.me.Identity, Dir: m.config.Dir}
}

// removed fails this member because it was removed.
func (m *Member) removed() { m.fail(m.removedError()) }

var errNobody = errors.New("no member is known")

// knock asks the members that are known to take this node, until the leader has
// answered.
func (m *Member) knock(ctx context.Context) (Joined, error) {
	r := JoinRequest{
		Identity: m.me.Identity, Name: m.me.Name, Raft: m.streams.address.hostPort,
		Boot: m.boot.Number, Nonce: m.boot.nonce,
	}
	err := errNobody
	for _, addr := range m.memberAddresses() {
		ctx, cancel := context.WithTimeout(ctx, knockTimeout)
		var answer Joined
		answer, err = m.config.Peers.Join(ctx, addr, r)
		cancel()
		if err == nil {
			return answer, nil
		}
	}
	return Joined{}, err
}

// ring connects to the members in raft's configuration and hangs up: one of
// them may say that this node was removed, where nobody can be asked who leads.
// A member without a vote would have no reason to connect to anybody.
func (m *Member) ring() {
	for _, s := range m.servers() {
		if string(s.ID) == m.me.Identity || m.Err() != nil {
			continue
		}
		if c, err := m.streams.Dial(m.raftAddress(string(s.ID)), helloTimeout); err == nil {
			_ = c.Close()
		}
	}
}

// memberAddresses returns where other members serve gRPC, as gossip and the
// metadata have it.
func (m *Member) memberAddresses() (addrs []string) {
	add := func(identity, addr string) {
		if identity != m.me.Identity && addr != "" && !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	for _, n := range m.gossip.nodes() {
		if n.member && n.cluster == m.me.cluster {
			add(n.identity, n.grpc)
		}
	}
	for _, n := range m.roster.all() {
		if !n.Removed {
			add(n.Identity, n.GRPC)
		}
	}
	return addrs
}

// raftAddress returns where a member is to be found for raft: as gossip has it,
// or the metadata, or raft's configuration.
func (m *Member) raftAddress(identity string) raft.ServerAddress {
	if identity == m.me.Identity {
		return m.streams.address.server()
	}
	if n, ok := m.gossip.node(identity); ok && n.raft != "" {
		return streamAddr{identity, n.raft}.server()
	}
	if n := m.roster.node(identity); n != nil && n.Raft != "" {
		return streamAddr{identity, n.Raft}.server()
	}
	select {
	case <-m.ready: // raft calls this from its own goroutines, and is set within moments
	case <-m.closing: // or never, if Open failed meanwhile
		return raft.ServerAddress(identity)
	}
	for _, s := range m.servers() {
		if string(s.ID) == identity {
			return s.Address
		}
	}
	return raft.ServerAddress(identity)
}
