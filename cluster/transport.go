package cluster

import (
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

// raftTransport is what the transports of raft that we use can do.
type raftTransport interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
}

// newGroupTransport returns raft's transport to other members.
func newGroupTransport(m *Member, s *streams) *raft.NetworkTransport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		ServerAddressProvider: addressBook{m},
		Logger:                newRaftLogger(m.logger).Named("net"),
		Stream:                s,
		MaxPool:               poolMax,
		Timeout:               rpcTimeout,
		// No pipeline: that of raft 1.7.3 can lock itself up. After an answer that
		// is not a success nobody reads the others; if one more request is sent
		// then, that waits for ever, and with it Shutdown, while heartbeats look well.
		MaxRPCsInFlight:         1,
		MsgpackUseNewTimeFormat: true,
	})
}

// addressBook finds members by their identity: they may have moved since they
// were put into raft's configuration, all at once even.
type addressBook struct{ m *Member }

// ServerAddr implements raft.ServerAddressProvider.
func (b addressBook) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	return b.m.raftAddress(string(id)), nil
}

// watch returns a transport that tells of what is answered over it.
func (a *answers) watch(t raftTransport) raft.Transport { return &watchedTransport{t, a} }

type watchedTransport struct {
	raftTransport
	answers *answers
}

// AppendEntries implements raft.Transport. Heartbeats, which VerifyLeader sends
// at once, come this way too, so that a member that is well is heard of five to
// ten times per Config.Heartbeat.
func (t *watchedTransport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	sent := t.answers.begin()
	err := t.raftTransport.AppendEntries(id, target, args, resp)
	if err == nil {
		t.answers.note(id, args.Term, sent, resp)
	}
	return err
}
