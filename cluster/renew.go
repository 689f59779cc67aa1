package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
)

// renewing renews this node's lease until the member is closing: every
// Config.Renew, and at once when the leader changes or something is to be told.
// A renewal that gets no answer holds up no other one.
type renewing struct {
	m      *Member
	tell   chan struct{} // something is to be told at once; holds one
	slots  chan struct{} // one for each renewal under way
	flying sync.WaitGroup

	mu       sync.Mutex
	report   func() Report // nil: nothing to tell
	draining bool
	warned   bool   // that the clock is off
	refusal  string // the last one that was logged
}

// renewalsExtra is how many renewals may be under way beside those of a whole
// TTL, after which each ends, as its answer would be too late to count. They
// are for changes of the leader, which end those to the former one.
const renewalsExtra = 6

func newRenewing(m *Member) *renewing {
	most := int(m.config.TTL/m.config.Renew) + renewalsExtra
	return &renewing{m: m, tell: make(chan struct{}, 1), slots: make(chan struct{}, most)}
}

// SetReport sets whom to ask what each renewal shall tell of this node. f is
// called from a goroutine of the member, and must not block or call the member.
func (m *Member) SetReport(f func() Report) {
	r := m.renewing
	r.mu.Lock()
	r.report = f
	r.mu.Unlock()
	r.tellNow()
}

// SetDraining tells the leader that this node shall get no logs, or may get
// them again. It tells it at once, but does not wait until the leader knows.
func (m *Member) SetDraining(draining bool) {
	r := m.renewing
	r.mu.Lock()
	r.draining = draining
	r.mu.Unlock()
	r.tellNow()
}

func (r *renewing) tellNow() {
	select {
	case r.tell <- struct{}{}:
	default:
	}
}

func (r *renewing) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer r.flying.Wait()
	defer cancel()
	tick := time.NewTicker(r.m.config.Renew)
	defer tick.Stop()
	lapse := time.NewTimer(0)
	defer lapse.Stop()
	for {
		changed := r.m.leadership.wait()
		lapse.Reset(r.m.keeper.next())
		select {
		case <-lapse.C:
			r.m.keeper.publish()
			continue
		case <-tick.C:
		case <-changed:
		case <-r.tell:
		case <-r.m.failed:
			return
		case <-r.m.closing:
			return
		}
		r.m.keeper.publish()
		r.heedClock()
		select {
		case r.slots <- struct{}{}:
			r.flying.Go(func() {
				defer func() { <-r.slots }()
				r.renew(ctx)
			})
		default:
		}
	}
}

// renew asks the leader once, and takes in what it answers.
func (r *renewing) renew(ctx context.Context) {
	m := r.m
	ctx, cancel := context.WithTimeout(ctx, m.config.TTL)
	defer cancel()
	if !r.known() {
		return
	}
	number, sent := m.keeper.send()
	renewal := r.renewal(sent)
	var answer Renewed
	err := m.atLeader(ctx, func() (err error) {
		answer, err = m.ServeRenew(ctx, renewal)
		return err
	}, func(ctx context.Context, addr string) (err error) {
		answer, err = m.config.Peers.Renew(ctx, addr, renewal)
		return err
	})
	switch {
	case err == nil && answer.Lease != 0 && answer.Lease != m.config.TTL:
		m.fail(&LeaseTTLError{Have: m.config.TTL, Want: answer.Lease})
		return
	case err == nil:
		m.keeper.renewed(number, sent, answer)
		m.metrics.lease.renewals.WithLabelValues("renewed").Inc()
		m.metrics.lease.renewSecs.Observe((m.keeper.clock.now().mono - sent.mono).Seconds())
		m.keeper.prune(r.over)
		return
	case errors.Is(err, ErrRefused):
		m.keeper.refused(number)
		r.heedRefusal(err.Error())
	default:
		m.logger.Debug("renew the lease", "err", err)
	}
	m.metrics.lease.renewals.WithLabelValues(peerOutcome(err)).Inc()
}

// heedRefusal says once why the leader refuses.
func (r *renewing) heedRefusal(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refusal != why {
		r.refusal = why
		r.m.logger.Error("the leader does not renew this node's lease", "err", why)
	}
}

// known tells whether the metadata knows this boot: else the leader would
// refuse.
func (r *renewing) known() bool {
	known := false
	r.m.View(func(s *fsm.State) {
		n, ok := s.Node(r.m.me.Identity)
		known = ok && n.Boot == r.m.boot.Number
	})
	return known
}

func (r *renewing) renewal(sent instant) Renewal {
	m := r.m
	r.mu.Lock()
	report, draining := r.report, r.draining
	r.mu.Unlock()
	x := Renewal{
		Identity: m.me.Identity, Boot: m.boot.Number, Incarnation: m.Incarnation(),
		Applied: m.Applied(), Clock: sent.wall,
	}
	if report != nil {
		x.Report = report()
	}
	x.Report.Draining = draining || m.Space() != nil
	if skew, ok := m.ClockSkew(); !ok {
		x.Report.ClockSkew = skew
	}
	return x
}

// over tells whether a chain is sealed.
func (r *renewing) over(e fragment.Epoch) (over bool) {
	r.m.View(func(s *fsm.State) {
		c, ok := s.Chain(e)
		over = ok && c.State == fsm.ChainSealed
	})
	return over
}

// heedClock says once when this node's clock goes wrong, and when it is right
// again.
func (r *renewing) heedClock() {
	skew, ok := r.m.ClockSkew()
	r.m.metrics.lease.skew.Set(skew.Seconds())
	r.mu.Lock()
	defer r.mu.Unlock()
	if ok != r.warned {
		return
	}
	r.warned = !ok
	if ok {
		r.m.logger.Info("this node's clock is near the leader's again", "ahead", skew)
		return
	}
	r.m.logger.Error("this node's clock is too far from the leader's: it takes no logs and drops nothing by age until the clock is right",
		"ahead", skew, "limit", ClockSkewMax)
}
