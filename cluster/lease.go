package cluster

import (
	"sync"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// Lease is this node's right to write a chain, as far as its own clocks tell.
// It says whether the leader can have given the chain to somebody to seal; what
// makes a late write harmless is the seal.
type Lease struct {
	keeper *keeper
	epoch  fragment.Epoch

	// All below is guarded by keeper.mu.

	covered bool    // by the latest renewal, or by the grant
	sent    instant // when that, or the grant, was asked for
	born    uint64  // renewals up to this number can't know of the grant
	decided uint64  // number of the renewal whose answer says so
	told    bool    // what changed last told
	changed chan struct{}
}

// Held tells whether this node may start something new on the chain. By the
// clock that went further, monotonic or wall, less than a TTL has passed since
// the last renewal that was answered for it was sent. In a group of one: the
// member leads and has not failed.
func (l *Lease) Held() bool {
	l.keeper.mu.Lock()
	defer l.keeper.mu.Unlock()
	return l.heldLocked()
}

func (l *Lease) heldLocked() bool {
	held := l.keeper.heldLocked(l, l.keeper.clock.now())
	// Who waits after a no waits for a yes, so Changed must know of the no.
	l.keeper.tellLocked(l, held)
	return held
}

// Changed returns a channel that is closed when the lease lapses or is held
// again, and perhaps when neither is so. Ask for it before Held.
func (l *Lease) Changed() <-chan struct{} {
	l.keeper.mu.Lock()
	defer l.keeper.mu.Unlock()
	l.heldLocked()
	return l.changed
}

// keeper keeps this node's leases, and what else the leader's answers tell.
type keeper struct {
	clock   clock
	ttl     time.Duration
	alone   func() bool // not nil in a group of one: whether all leases are held
	metrics *leaseMetrics

	mu     sync.Mutex
	leases map[fragment.Epoch]*Lease
	number uint64 // of the last renewal sent

	// The rest is from the answer to the renewal with the highest number so
	// far, and zero before the first.
	heard uint64
	sent  instant // that renewal
	came  instant // its answer
	skew  time.Duration
	nodes map[string]time.Duration // age by identity
}

func newKeeper(c *Config, m *leaseMetrics) *keeper {
	return &keeper{clock: newClock(c.wall), ttl: c.TTL, metrics: m, leases: make(map[fragment.Epoch]*Lease)}
}

// Lease returns the lease of a chain. It is not held before Grant has returned
// the epoch.
func (m *Member) Lease(epoch fragment.Epoch) *Lease {
	m.keeper.mu.Lock()
	defer m.keeper.mu.Unlock()
	return m.keeper.leaseLocked(epoch)
}

func (k *keeper) leaseLocked(epoch fragment.Epoch) *Lease {
	l := k.leases[epoch]
	if l == nil {
		l = &Lease{keeper: k, epoch: epoch, born: k.number, changed: make(chan struct{})}
		k.leases[epoch] = l
	}
	return l
}

func (k *keeper) heldLocked(l *Lease, now instant) bool {
	if k.alone != nil {
		return k.alone()
	}
	return l.covered && now.since(l.sent) < k.ttl
}

// granted notes that this node has a new chain, which it asked for then.
func (k *keeper) granted(epoch fragment.Epoch, asked instant) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.leaseLocked(epoch)
	l.born = k.number
	if l.decided == 0 { // no renewal was faster
		l.covered, l.sent = true, asked
	}
	k.publishLocked()
}

// send numbers a renewal that is about to be sent. The moment is the earliest
// that it may count from.
func (k *keeper) send() (number uint64, at instant) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.number++
	return k.number, k.clock.now()
}

// renewed takes in the answer to a renewal. A chain that it does not name has
// lapsed, unless a later renewal says otherwise: a leader names none that it is
// about to have sealed, and may be deposed before it gets that far.
func (k *keeper) renewed(number uint64, sent instant, r Renewed) {
	k.mu.Lock()
	defer k.mu.Unlock()
	named := make(map[fragment.Epoch]bool, len(r.Epochs))
	for _, e := range r.Epochs {
		named[e] = true
		l := k.leaseLocked(e)
		if number > l.decided {
			l.covered, l.sent, l.decided = true, sent, number
		}
	}
	k.endLocked(number, named)
	if number > k.heard {
		k.heard, k.sent, k.came = number, sent, k.clock.now()
		k.skew = skewOf(sent, k.came, r.Clock)
		k.nodes = make(map[string]time.Duration, len(r.Nodes))
		for _, n := range r.Nodes {
			k.nodes[n.Identity] = n.Age
		}
	}
	k.publishLocked()
}

// refused takes in that the leader renews nothing.
func (k *keeper) refused(number uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.endLocked(number, nil)
	k.publishLocked()
}

// endLocked ends the leases that the answer to a renewal does not name and
// could know of.
func (k *keeper) endLocked(number uint64, named map[fragment.Epoch]bool) {
	for e, l := range k.leases {
		if !named[e] && number > l.born && number > l.decided {
			l.covered, l.decided = false, number
		}
	}
}

// publish tells those who wait for a lease that it lapsed or is held again.
func (k *keeper) publish() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.publishLocked()
}

func (k *keeper) publishLocked() {
	now, held := k.clock.now(), 0
	for _, l := range k.leases {
		h := k.heldLocked(l, now)
		if h {
			held++
		}
		k.tellLocked(l, h)
	}
	k.metrics.held.Set(float64(held))
}

func (k *keeper) tellLocked(l *Lease, held bool) {
	if held == l.told {
		return
	}
	l.told = held
	if !held {
		k.metrics.lapses.Inc()
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// next returns how long it takes until a lease lapses if no answer comes.
func (k *keeper) next() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	now, next := k.clock.now(), k.ttl
	for _, l := range k.leases {
		if l.told && l.covered {
			next = min(next, k.ttl-now.since(l.sent))
		}
	}
	return max(next, 0)
}

// prune forgets the leases of chains that are over, which is asked without a
// lock.
func (k *keeper) prune(over func(fragment.Epoch) bool) {
	k.mu.Lock()
	var lapsed []fragment.Epoch
	for e, l := range k.leases {
		if !l.told {
			lapsed = append(lapsed, e)
		}
	}
	k.mu.Unlock()
	for _, e := range lapsed {
		if over(e) {
			k.mu.Lock()
			delete(k.leases, e)
			k.mu.Unlock()
		}
	}
}
