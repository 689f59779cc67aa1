package cluster

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// poolMax is how many idle connections are kept per member.
	poolMax = 3
	// rpcTimeout bounds a request of raft's; for snapshots it is per 256 KiB. A
	// follower may need that long to write a batch to its disk.
	rpcTimeout = 5 * time.Second
)

// groupTransport is raft's transport to other members. It notes when each was
// last heard of, and how far it was.
type groupTransport struct {
	*raft.NetworkTransport
	contacts contacts
}

func newGroupTransport(m *Member, s *streams) *groupTransport {
	return &groupTransport{NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		ServerAddressProvider:   addressBook{m},
		Logger:                  newRaftLogger(m.logger).Named("net"),
		Stream:                  s,
		MaxPool:                 poolMax,
		Timeout:                 rpcTimeout,
		MsgpackUseNewTimeFormat: true,
	})}
}

// AppendEntries implements raft.Transport. Heartbeats all come this way, so
// that a member that is well is heard of ten times per Config.Heartbeat.
func (t *groupTransport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	err := t.NetworkTransport.AppendEntries(id, target, args, resp)
	if err == nil {
		t.contacts.note(id, resp.LastLog)
	}
	return err
}

// contact is the latest answer of a member to this one as the leader.
type contact struct {
	at   time.Time
	last uint64 // its last raft index then
}

type contacts struct {
	mu sync.Mutex
	of map[raft.ServerID]contact
}

func (c *contacts) note(id raft.ServerID, last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = make(map[raft.ServerID]contact)
	}
	c.of[id] = contact{at: time.Now(), last: last}
}

func (c *contacts) get(id raft.ServerID) (contact, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x, ok := c.of[id]
	return x, ok
}

// keep forgets all but these servers.
func (c *contacts) keep(servers []raft.Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := make(map[raft.ServerID]contact, len(servers))
	for _, s := range servers {
		if x, ok := c.of[s.ID]; ok {
			of[s.ID] = x
		}
	}
	c.of = of
}

// addressBook finds members by their identity: they may have moved since they
// were put into raft's configuration, all at once even.
type addressBook struct{ m *Member }

// ServerAddr implements raft.ServerAddressProvider.
func (b addressBook) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	return b.m.raftAddress(string(id)), nil
}
