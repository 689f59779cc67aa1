package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"

	"github.com/wpd-io/wpd/fsm"
)

const (
	looksPerTTL = 12  // how late a lapse is noticed at most: a quarter of a second
	ordersMax   = 256 // commands that one look puts into raft at once
)

// lapsing looks after the leases as long as this member leads, until it is
// closing.
func (m *Member) lapsing() {
	tick := time.NewTicker(m.config.TTL / looksPerTTL)
	defer tick.Stop()
	for {
		changed := m.leadership.wait()
		select {
		case <-tick.C:
		case <-changed:
		case <-m.failed:
			return
		case <-m.closing:
			return
		}
		if m.leads() {
			m.look()
		}
	}
}

// look has the chains sealed whose leases have lapsed, and finds others to seal
// where the first did not.
func (m *Member) look() {
	ctx, cancel := context.WithTimeout(context.Background(), m.config.TTL)
	defer cancel()
	t := m.table
	t.mu.Lock()
	term := t.term
	t.mu.Unlock()
	if term != m.raft.CurrentTerm() {
		var err error
		if term, err = m.confirmHere(ctx); err != nil {
			return // the next look tries again
		}
	}
	var orders []order
	err := t.inTerm(term, func() error {
		m.View(func(s *fsm.State) { orders = t.ordersLocked(s, m.me.Identity) })
		return nil
	})
	if err != nil {
		return // that term is over; the next look is one of another
	}
	for len(orders) > 0 && m.carryOut(term, orders[:min(len(orders), ordersMax)]) {
		orders = orders[min(len(orders), ordersMax):]
	}
}

// carryOut proposes what was decided in a term. It never goes to another leader,
// who may have answered renewals meanwhile: what that one does not decide itself
// is not decided. It returns false if this member leads no more, or can't.
func (m *Member) carryOut(term uint64, orders []order) bool {
	begin := time.Now()
	futures := make([]raft.ApplyFuture, len(orders))
	for i, o := range orders {
		data, err := envelope(fsm.NewBeginSeal(o.epoch, o.hint, o.sealer))
		if err != nil {
			m.logger.Error("have a chain sealed", "chain", o.epoch, "err", err)
			continue
		}
		if m.raft.CurrentTerm() != term {
			break
		}
		futures[i] = m.raft.Apply(data, enqueueTimeout)
	}
	leads, committed := true, false
	for i, f := range futures {
		if f == nil {
			continue
		}
		err := f.Error()
		if err == nil {
			committed = true
			err = f.Response().(response).judge()
		} else {
			err = m.raftError(err)
			leads = leads && !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrUncertain)
		}
		m.metrics.proposed(begin, err)
		m.report(orders[i], err)
	}
	if committed {
		m.nudge() // for those who were asked to seal
	}
	return leads
}

// report tells what became of an order. One that failed is given again at the
// next look, if it is still due.
func (m *Member) report(o order, err error) {
	switch {
	case err != nil:
		m.logger.Warn("could not have a chain sealed, trying again", "chain", o.epoch, "node", o.node, "sealer", o.sealer, "err", err)
	case o.lapsed:
		m.metrics.lease.takeovers.Inc()
		m.logger.Warn("the lease of a node has lapsed, its chain is being sealed", "chain", o.epoch, "node", o.node,
			"silent", o.silent, "durable", o.hint, "sealer", o.sealer)
	default:
		m.metrics.lease.sealers.Inc()
		m.logger.Warn("another node is asked to seal a chain", "chain", o.epoch, "node", o.node, "sealer", o.sealer)
	}
}
