package cluster

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
)

// Move says that a log had better be written by another node. To hand it over is
// for others; the log stays where it is if they don't.
type Move struct {
	Log      fragment.LogID
	From, To string // identities
}

const (
	// Nodes that differ by more than moveStart of a fair share begin to be
	// balanced, until they differ by no more than moveStop.
	moveStart = 0.25
	moveStop  = 0.05

	// scanEvery is how often all logs are looked at though the nodes are
	// balanced: a log may have got another zone. Where they are not, scanSoon
	// is: perhaps no log may move.
	scanEvery = 30 * time.Second
	scanSoon  = 5 * time.Second
)

// Moves returns at most so many logs that should move now. It needs this member
// to lead, else its error is an ErrNotLeader. A log that was in an answer is in
// no other one for a minute. Called once a second, most is the limit of moves
// per second.
func (m *Member) Moves(ctx context.Context, most int) (moves []Move, err error) {
	err = m.asLeader(ctx, func(t *table) error {
		m.View(func(s *fsm.State) { moves = t.movesLocked(s, most) })
		return nil
	})
	return moves, err
}

func (t *table) movesLocked(s *fsm.State, most int) []Move {
	now := t.clock.now().mono
	nodes, _ := t.loadsLocked(s, now)
	if t.patienceLocked(s) > 0 || !t.places.due(nodes, now) {
		return nil
	}
	t.places.sweep(now)
	t.places.looked = now
	var moves []Move
	logs := t.logsLocked(s, nodes, now)
	moves, t.places.active = plan(nodes, logs, most, t.places.active)
	for _, x := range moves {
		t.places.move(x, now)
		t.nodes[x.To].load.placed++
	}
	for _, n := range nodes { // what is told from now on changes it only slowly
		t.nodes[n.identity].load.rate = n.rate
	}
	return moves
}

// due tells whether it is worth looking at all logs.
func (p *places) due(nodes []nodeLoad, now time.Duration) bool {
	if p.active || now-p.looked >= scanEvery {
		return true
	}
	for _, n := range nodes {
		if n.leaves && n.logs > 0 {
			return true
		}
	}
	return now-p.looked >= scanSoon && newBalance(nodes).gap() > moveStart
}

// logLoad is a log that somebody writes.
type logLoad struct {
	id    fragment.LogID
	owner int // index of the node
	zone  string
	rests bool // it has moved lately, or is about to
}

// logsLocked returns the logs of the nodes, by id, and counts them anew: a log
// that is about to move counts where it goes.
func (t *table) logsLocked(s *fsm.State, nodes []nodeLoad, now time.Duration) []logLoad {
	index := make(map[string]int, len(nodes))
	for i := range nodes {
		index[nodes[i].identity] = i
		nodes[i].logs = 0
	}
	var logs []logLoad
	for l := range s.Logs("") {
		_, c, attached := s.Attached(l)
		if !attached || c.State != fsm.ChainOpen {
			continue
		}
		x := logLoad{id: l.ID, zone: l.Config.Zone}
		if at, ok := t.places.moved[l.ID]; ok && now-at < moveMemory {
			x.rests = true
		}
		owner := c.Node
		if chosen, ok := t.places.chosen(l.ID, now); ok {
			owner = chosen
		}
		var ok bool
		if x.owner, ok = index[owner]; ok {
			nodes[x.owner].logs++
			logs = append(logs, x)
		}
	}
	slices.SortFunc(logs, func(a, b logLoad) int { return cmp.Compare(a.id, b.id) })
	return logs
}
