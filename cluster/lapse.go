package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
)

// table is what a leader knows of the nodes and their chains beside the
// metadata. It is in memory only, and made anew in each term: what is not in it
// counts from when the barrier of the term had passed. since, looked, answered,
// seen and named are moments of this machine's monotonic clock; the clocks of
// other nodes decide nothing.
type table struct {
	clock clock
	ttl   time.Duration

	mu     sync.Mutex
	term   uint64
	since  time.Duration // all before was another leader's, or is not known
	looked time.Duration // the last look at the leases
	nodes  map[string]*standing
	chains map[fragment.Epoch]*watch
	heard  signal // the next renewal
	places places
}

// standing is what a leader knows of a node.
type standing struct {
	boot     uint64
	answered time.Duration // its last renewal
	applied  uint64
	report   Report
	skewed   bool // its clock is too far from ours, by what it tells or we see
	load     load
}

// watch is what a leader knows of a chain that is not sealed.
type watch struct {
	seen    time.Duration // first, open: its lease is as old at most
	durable uint64        // the highest that was heard of
	ending  bool          // we have it sealed: it is renewed no more
	sealer  string        // who was named
	named   time.Duration // when that was seen first
}

// sealPatience is how long a node may take to seal a chain before another one
// is asked, too.
const sealPatience = 10 * time.Second

func newTable(c clock, ttl time.Duration) *table { return &table{clock: c, ttl: ttl} }

// enterLocked makes the table that of a term in which this member was confirmed
// to lead. It returns false if a later one has begun.
func (t *table) enterLocked(term uint64) bool {
	if term <= t.term {
		return term == t.term
	}
	now := t.clock.now().mono
	t.term, t.since, t.looked = term, now, now
	t.nodes = make(map[string]*standing)
	t.chains = make(map[fragment.Epoch]*watch)
	t.places = places{}
	return true
}

// inTerm calls f with the table locked, if it is, or becomes, that of a term in
// which this member was confirmed to lead. A *NotLeaderError says that a later
// one has begun.
func (t *table) inTerm(term uint64, f func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.enterLocked(term) {
		return &NotLeaderError{}
	}
	return f()
}

// asLeader calls f with the table locked, once this member is confirmed to lead.
// Errors are those of f, and of confirmHere.
func (m *Member) asLeader(ctx context.Context, f func(*table) error) error {
	term, err := m.confirmHere(ctx)
	if err != nil {
		return err
	}
	return m.table.inTerm(term, func() error { return f(m.table) })
}

func (t *table) watchLocked(c *fsm.Chain, now time.Duration) *watch {
	w := t.chains[c.Epoch]
	if w == nil {
		w = &watch{seen: now, named: now, sealer: c.Sealer}
		t.chains[c.Epoch] = w
	}
	return w
}

// hear takes in a renewal that is being answered.
func (n *standing) hear(r Renewal, now instant) {
	n.load.hear(r.Report, now.mono-n.answered)
	n.answered, n.applied, n.report = now.mono, r.Applied, r.Report
	// A clock ahead of ours is seen here; one that is behind looks like a
	// slow network, so only the node itself can tell.
	n.skewed = r.Report.ClockSkew != 0 || r.Clock.Sub(now.wall) > ClockSkewMax
}

// aliveLocked tells whether a node's lease can't have been let lapse.
func (t *table) aliveLocked(identity string, now time.Duration) bool {
	n := t.nodes[identity]
	return n != nil && now-n.answered < t.ttl
}

// order is a BeginSeal that the leader is to propose.
type order struct {
	epoch  fragment.Epoch
	node   string // that writes the chain
	hint   uint64
	sealer string
	lapsed bool          // else only the sealer changes
	silent time.Duration // since what the lease last rested on
}

// ordersLocked decides which chains to have sealed, and by whom. The chains
// whose leases lapse are renewed no more from here on.
func (t *table) ordersLocked(s *fsm.State, self string) (orders []order) {
	now := t.clock.now().mono
	if now-t.looked > t.ttl/2 {
		// This process, or the machine, stood still. Perhaps the renewals did
		// as well, or wait to be read.
		t.since = now
	}
	t.looked = now
	t.forgetLocked(s)
	pick := newPicker(t, s, self, now)
	for c := range s.Unsealed() {
		w := t.watchLocked(c, now)
		if w.sealer != c.Sealer {
			w.sealer, w.named = c.Sealer, now
		}
		o := order{epoch: c.Epoch, node: c.Node, hint: max(w.durable, c.DurableHint)}
		if c.State == fsm.ChainOpen {
			o.lapsed, o.silent = true, now-t.restsOnLocked(c, w)
			// A command that was given and failed is given again, also if the
			// node has come back: it was refused the renewal of this chain.
			if o.silent < t.ttl && !w.ending {
				continue
			}
			w.ending = true
		} else if !t.slowLocked(s, c, w, now) {
			continue
		}
		if o.sealer = pick.sealer(c); o.sealer != c.Sealer {
			orders = append(orders, o)
		}
	}
	return orders
}

// restsOnLocked returns the moment from which an open chain's lease lasts a TTL:
// no renewal that its writer counts on was sent later, nor was the chain granted.
func (t *table) restsOnLocked(c *fsm.Chain, w *watch) time.Duration {
	from := max(t.since, w.seen)
	if n := t.nodes[c.Node]; n != nil && n.boot == c.Boot {
		from = max(from, n.answered)
	}
	return from
}

// slowLocked tells whether the sealer of a chain is gone, or takes too long.
func (t *table) slowLocked(s *fsm.State, c *fsm.Chain, w *watch, now time.Duration) bool {
	n, ok := s.Node(c.Sealer)
	if !ok || n.Removed {
		return true
	}
	from := max(t.since, w.named)
	if now-from >= sealPatience {
		return true
	}
	if n := t.nodes[c.Sealer]; n != nil {
		from = max(from, n.answered)
	}
	return now-from >= t.ttl
}

// forgetLocked drops what is over.
func (t *table) forgetLocked(s *fsm.State) {
	for e := range t.chains {
		if c, ok := s.Chain(e); !ok || c.State == fsm.ChainSealed {
			delete(t.chains, e)
		}
	}
	for identity := range t.nodes {
		if n, ok := s.Node(identity); !ok || n.Removed {
			delete(t.nodes, identity)
		}
	}
}

// picker spreads chains over the nodes that can seal.
type picker struct {
	self  string
	nodes []string       // alive, in the order of their identities
	busy  map[string]int // chains that each was asked to seal
}

func newPicker(t *table, s *fsm.State, self string, now time.Duration) *picker {
	p := &picker{self: self, busy: make(map[string]int)}
	for n := range s.Nodes() {
		if !n.Removed && t.aliveLocked(n.Identity, now) {
			p.nodes = append(p.nodes, n.Identity)
		}
	}
	for c := range s.Unsealed() {
		p.busy[c.Sealer]++
	}
	return p
}

// sealer chooses who shall seal a chain: of the nodes that are alive, the one
// with the least to seal, but neither who writes the chain nor who was asked
// already, as long as there is another. If none is alive it is the leader.
func (p *picker) sealer(c *fsm.Chain) string {
	best, rank := p.self, 3
	for _, n := range p.nodes {
		r := 0
		if n == c.Node {
			r = 1
		}
		if n == c.Sealer {
			r = 2
		}
		if r < rank || r == rank && p.busy[n] < p.busy[best] {
			best, rank = n, r
		}
	}
	p.busy[best]++
	return best
}
