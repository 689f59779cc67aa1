package cluster

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// answers knows what the members have answered to this one as the leader: when
// each was last heard of, and which have taken it for the leader since a moment.
// Raft's own VerifyLeader counts an answer to what was sent long before, if only
// it comes in time, and those of members without a vote.
type answers struct {
	mu    sync.Mutex
	sent  uint64                     // counts requests that were sent
	of    map[raft.ServerID]answered // by who answered
	newer signal                     // that one has said yes
}

// answered is what a member has answered.
type answered struct {
	at   time.Time // the latest answer, whatever it was
	last uint64    // its last raft index then
	// The latest request that it has said yes to: in which term it was sent,
	// and its number; 0 if to none.
	term, sent uint64
}

// begin numbers a request that is about to be sent.
func (a *answers) begin() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sent++
	return a.sent
}

// now returns a number below those of all requests that are sent from now on.
func (a *answers) now() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sent
}

// note takes in an answer to a request that was sent in a term under a number.
func (a *answers) note(from raft.ServerID, term, sent uint64, resp *raft.AppendEntriesResponse) {
	a.mu.Lock()
	defer a.mu.Unlock()
	x := a.of[from]
	x.at, x.last = time.Now(), resp.LastLog
	if later := term > x.term || term == x.term && sent > x.sent; later && resp.Success && resp.Term == term {
		x.term, x.sent = term, sent
		a.newer.fire()
	}
	if a.of == nil {
		a.of = make(map[raft.ServerID]answered)
	}
	a.of[from] = x
}

// get returns what a member has answered.
func (a *answers) get(id raft.ServerID) (answered, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	x, ok := a.of[id]
	return x, ok
}

// keep forgets all but these servers.
func (a *answers) keep(servers []raft.Server) {
	a.mu.Lock()
	defer a.mu.Unlock()
	of := make(map[raft.ServerID]answered, len(servers))
	for _, s := range servers {
		if x, ok := a.of[s.ID]; ok {
			of[s.ID] = x
		}
	}
	a.of = of
}

// majority tells whether most voters, self among them, were asked after a
// moment that now returned, and said yes to the leader of the term. newer is
// closed when that may have changed.
func (a *answers) majority(servers []raft.Server, self raft.ServerID, term, since uint64) (yes bool, newer <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	voters, agree := 0, 0
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if x := a.of[s.ID]; s.ID == self || x.term == term && x.sent > since {
			agree++
		}
	}
	return agree > voters/2, a.newer.wait()
}
