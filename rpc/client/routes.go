package client

import (
	"time"

	"github.com/wpd-io/wpd/fragment"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

const (
	// routesMax bounds the logs whose writers are remembered: about 10 MB.
	routesMax = 64 << 10
	// routeSettled is how old a route must be until an answer that tells of a
	// log in passing counts for more: the node that gives it may not have heard
	// yet what the client has.
	routeSettled = 5 * time.Second
)

// route says that a node writes a log.
type route struct {
	node *node
	at   time.Time // when that was heard
}

// writer returns the node that writes a log; nil: it is not known, or can't be
// reached now.
func (r *routes) writer(log fragment.LogID) *node {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.writerLocked(log)
}

func (r *routes) writerLocked(log fragment.LogID) *node {
	if x, ok := r.known[log]; ok && !x.node.isDown() {
		return x.node
	}
	return nil
}

// learn notes that the writer of a log serves at an address, as a node says.
// With sure, that node has just found out; otherwise it only tells what it has
// heard.
func (r *routes) learn(from *node, log fragment.LogID, addr string, sure bool) {
	if !r.pool.follows || addr == "" || log == anyNode {
		return
	}
	n := from
	if !from.isAt(addr) {
		n = r.pool.nodeAt(addr)
	}
	if n == nil || n.foreign() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if x, ok := r.known[log]; ok && !sure && time.Since(x.at) < routeSettled {
		return
	}
	r.setLocked(log, n)
}

func (r *routes) setLocked(log fragment.LogID, n *node) {
	if _, ok := r.known[log]; !ok && len(r.known) >= routesMax {
		for other := range r.known { // any: it is learned again
			delete(r.known, other)
			break
		}
	}
	r.known[log] = route{n, time.Now()}
}

// hinted learns what an answer to batches tells.
func (r *routes) hinted(from *node, all []*logv1.AppendHint) {
	for _, h := range all {
		r.learn(from, fragment.LogID(h.GetLogId()), h.GetWriterAddr(), true)
	}
}

// follow learns from a node that it does not write a log, and returns the one
// that does; nil: it does not know, or points at itself, or at one that can't be
// reached. Then any node may be asked, after a while.
func (r *routes) follow(log fragment.LogID, from *node, e *api.ElsewhereError) *node {
	if !r.pool.follows {
		return nil
	}
	n := r.pool.nodeAt(e.Addr)
	if n == from || n != nil && (n.isDown() || n.foreign()) {
		n = nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n == nil {
		delete(r.known, log)
	} else if log != anyNode {
		r.setLocked(log, n)
	}
	return n
}

// drop forgets what a node writes.
func (r *routes) drop(n *node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for log, x := range r.known {
		if x.node == n {
			delete(r.known, log)
		}
	}
}
