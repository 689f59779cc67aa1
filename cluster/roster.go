package cluster

import (
	"sync/atomic"

	"github.com/wpd-io/wpd/fsm"
)

// roster is the nodes that the metadata knows, for those that must not wait for
// the state: while that stands still, raft has to hand leadership over, and
// needs addresses and the doorman for it. It trails the state by a moment.
type roster struct {
	nodes atomic.Pointer[map[string]*fsm.Node] // by identity; neither is changed
}

// node returns nil for a node that is not known.
func (r *roster) node(identity string) *fsm.Node {
	if nodes := r.nodes.Load(); nodes != nil {
		return (*nodes)[identity]
	}
	return nil
}

// all returns all nodes. They must not be changed.
func (r *roster) all() map[string]*fsm.Node {
	if nodes := r.nodes.Load(); nodes != nil {
		return *nodes
	}
	return nil
}

// refresh takes over what has changed. It is not safe for concurrent use.
func (r *roster) refresh(s *fsm.State) {
	before := r.all()
	next := make(map[string]*fsm.Node)
	same := true
	for n := range s.Nodes() {
		next[n.Identity] = n
		same = same && before[n.Identity] == n
	}
	if !same || len(next) != len(before) {
		r.nodes.Store(&next)
	}
}
