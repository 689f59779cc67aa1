package cluster

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
)

// Place returns the identity of the node that shall write a log which nobody
// writes, or of the one that does. It is the leader's choice: a node that is
// alive, in the log's zone if one is, with the least to do. Who asks again
// within placeMemory, at any node, is told the same. Like Propose it works at
// every member and waits for a leader as long as ctx lasts. ErrRefused: there is
// no such log, or no node can take it; the text says why.
func (m *Member) Place(ctx context.Context, log fragment.LogID) (identity string, err error) {
	if !m.config.networked() {
		return m.me.Identity, m.usable(ctx)
	}
	err = m.retrying(ctx, func() error {
		return m.atLeader(ctx, func() (err error) {
			identity, err = m.ServePlace(ctx, log)
			return err
		}, func(ctx context.Context, addr string) (err error) {
			identity, err = m.config.Peers.Place(ctx, addr, log)
			m.metrics.lease.forwarded("place", err)
			return harmless(err)
		})
	})
	return identity, err
}

// ServePlace is Peers.Place at the member that was asked.
func (m *Member) ServePlace(ctx context.Context, log fragment.LogID) (string, error) {
	term, err := m.confirmHere(ctx)
	if err != nil {
		return "", err
	}
	for {
		identity, heard, patience, err := m.tryPlace(term, log)
		if heard == nil {
			return identity, err
		}
		timer := time.NewTimer(patience)
		select {
		case <-heard:
		case <-timer.C:
		case <-m.closing:
			err = ErrClosed
		case <-m.failed:
			err = m.Err()
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		timer.Stop()
		if err != nil {
			return "", err
		}
	}
}

// tryPlace returns a choice, or for how long to wait for the renewals of others:
// then heard is closed at the next one.
func (m *Member) tryPlace(term uint64, log fragment.LogID) (identity string, heard <-chan struct{}, patience time.Duration, err error) {
	t := m.table
	err = t.inTerm(term, func() (err error) {
		m.View(func(s *fsm.State) {
			if patience = t.patienceLocked(s); patience == 0 {
				identity, err = t.placeLocked(s, log)
			}
		})
		if patience > 0 {
			heard = t.heard.wait()
		}
		return err
	})
	return identity, heard, patience, err
}

// patienceLocked returns for how long a new leader waits until all nodes have
// renewed: it would give everything to the first one.
func (t *table) patienceLocked(s *fsm.State) time.Duration {
	left := t.since + t.ttl/3 - t.clock.now().mono
	if left <= 0 {
		return 0
	}
	for n := range s.Nodes() {
		if !n.Removed && t.nodes[n.Identity] == nil {
			return left
		}
	}
	return 0
}

func (t *table) placeLocked(s *fsm.State, id fragment.LogID) (string, error) {
	l, ok := s.Log(id)
	if !ok {
		return "", &RefusedError{Reason: fmt.Sprintf("there is no log %d", id)}
	}
	if c, attached := s.Owner(id); attached && c.State == fsm.ChainOpen {
		return c.Node, nil
	}
	now := t.clock.now().mono
	nodes, faults := t.loadsLocked(s, now)
	if chosen, ok := t.places.chosen(id, now); ok {
		for _, n := range nodes {
			if n.identity == chosen && n.takes {
				return chosen, nil
			}
		}
	}
	best := choose(nodes, l)
	if best == "" {
		return "", &RefusedError{Reason: fmt.Sprintf("no node can take log %q: %s", l.Name, strings.Join(faults, "; "))}
	}
	t.places.choose(id, best, now)
	t.nodes[best].load.placed++
	return best, nil
}

// nodeLoad is what a node has to do.
type nodeLoad struct {
	identity, zone string
	logs           uint64
	rate           float64 // bytes per second
	takes          bool    // it may get logs
	leaves         bool    // it drains: its logs go elsewhere
}

// loadsLocked returns the nodes that are alive, and why others, or they, take
// no logs.
func (t *table) loadsLocked(s *fsm.State, now time.Duration) (nodes []nodeLoad, faults []string) {
	for n := range s.Nodes() {
		if n.Removed {
			continue
		}
		at := t.nodes[n.Identity]
		if !t.aliveLocked(n.Identity, now) {
			faults = append(faults, n.Identity+" is not alive")
			continue
		}
		x := nodeLoad{
			identity: n.Identity, zone: n.Zone, leaves: at.report.Draining, takes: !at.report.Draining && !at.skewed,
			logs: at.report.Logs + at.load.pending(), rate: at.load.rate,
		}
		switch {
		case x.leaves:
			faults = append(faults, n.Identity+" is being drained")
		case !x.takes:
			faults = append(faults, fmt.Sprintf("%s has a clock that is more than %v from the leader's", n.Identity, ClockSkewMax))
		}
		nodes = append(nodes, x)
	}
	return nodes, faults
}

// choose returns the identity of the node that is best for a log, empty if none
// takes it.
func choose(nodes []nodeLoad, l *fsm.Log) string {
	shares := sharesOf(nodes)
	best := -1
	better := func(i, j int) bool {
		a, b := l.Config.Zone != "" && nodes[i].zone == l.Config.Zone, l.Config.Zone != "" && nodes[j].zone == l.Config.Zone
		switch {
		case a != b:
			return a
		case shares[i] != shares[j]:
			return shares[i] < shares[j]
		}
		return affinity(nodes[i].identity, l.ID) > affinity(nodes[j].identity, l.ID)
	}
	for i, n := range nodes {
		if n.takes && (best < 0 || better(i, best)) {
			best = i
		}
	}
	if best < 0 {
		return ""
	}
	return nodes[best].identity
}

// affinity spreads logs over nodes that are equal otherwise.
func affinity(identity string, id fragment.LogID) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d", identity, id)
	// FNV leaves the last digits in its low bits; this spreads them over all.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}
