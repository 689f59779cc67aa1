package cluster

import (
	"sync"

	"github.com/hashicorp/raft"
)

// acks knows which members have taken this one for the leader, and when: raft's
// own VerifyLeader counts an answer to what was sent long before, if only it
// comes in time, and those of members without a vote.
type acks struct {
	mu    sync.Mutex
	sent  uint64                // counts requests that were sent
	last  map[raft.ServerID]ack // the latest request that each has answered with yes
	newer chan struct{}         // closed when last changes; nil while nobody waits
}

// ack is a request that a member has answered.
type ack struct {
	term uint64
	sent uint64
}

// begin numbers a request that is about to be sent.
func (a *acks) begin() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sent++
	return a.sent
}

// now returns a number below those of all requests that are sent from now on.
func (a *acks) now() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sent
}

func (a *acks) answered(from raft.ServerID, term, sent uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if old := a.last[from]; old.term > term || old.term == term && old.sent >= sent {
		return
	}
	if a.last == nil {
		a.last = make(map[raft.ServerID]ack)
	}
	a.last[from] = ack{term, sent}
	if a.newer != nil {
		close(a.newer)
		a.newer = nil
	}
}

// majority tells whether most voters, self among them, were asked after a
// moment that now returned, and said yes to the leader of the term. newer is
// closed when that may have changed.
func (a *acks) majority(servers []raft.Server, self raft.ServerID, term, since uint64) (yes bool, newer <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	voters, agree := 0, 0
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if x := a.last[s.ID]; s.ID == self || x.term == term && x.sent > since {
			agree++
		}
	}
	if a.newer == nil {
		a.newer = make(chan struct{})
	}
	return agree > voters/2, a.newer
}

// raftTransport is what the transports of raft that we use can do.
type raftTransport interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
}

// watch returns a transport that tells acks about the heartbeats that are sent
// over it.
func (a *acks) watch(t raftTransport) raft.Transport { return &ackedTransport{t, a} }

type ackedTransport struct {
	raftTransport
	acks *acks
}

// AppendEntries implements raft.Transport. Heartbeats, which VerifyLeader sends
// at once, always come this way; what is pipelined need not be counted.
func (t *ackedTransport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	sent := t.acks.begin()
	err := t.raftTransport.AppendEntries(id, target, args, resp)
	if err == nil && resp.Success && resp.Term == args.Term {
		t.acks.answered(id, args.Term, sent)
	}
	return err
}
