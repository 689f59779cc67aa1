package client

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/wpd-io/wpd/wal/api"
)

const (
	// staggerAfter is how long a node may take to answer before the next one is
	// asked beside it.
	staggerAfter = 250 * time.Millisecond
	// helloTimeout bounds the wait for a node to say who it is. It is longer
	// than a connection may take, whose error says more.
	helloTimeout = connectTimeout + 500*time.Millisecond
)

// election is the search for a home, for all calls that need one.
type election struct {
	done chan struct{} // closed once the rest is set

	node    *node // nil: nobody answers, or not as it should
	err     error
	reached bool // somebody has answered, though not as it should
}

// reach returns a node that answers: home, or else, of the candidates, the one
// that does first; those that come later in the order have to wait a little.
// reached says of an error that a node has given it.
func (p *pool) reach(ctx context.Context) (_ *node, reached bool, err error) {
	if n := p.home.Load(); n != nil && n.ready() {
		return n, false, nil
	}
	e, err := p.elect()
	if err != nil {
		return nil, false, err
	}
	select {
	case <-e.done:
	case <-ctx.Done():
		return nil, false, p.unreachable(ctx, ctx.Err())
	}
	switch {
	case e.node != nil:
		return e.node, false, nil
	case p.isClosed():
		return nil, false, api.ErrClosed
	case !e.reached && errors.Is(e.err, api.ErrUnavailable):
		return nil, false, p.unreachable(ctx, e.err)
	}
	return nil, e.reached, e.err
}

// elect begins an election, unless one is going on.
func (p *pool) elect() (*election, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, api.ErrClosed
	case p.electing != nil:
		return p.electing, nil
	}
	e := &election{done: make(chan struct{})}
	p.electing = e
	p.wg.Go(func() {
		e.run(p)
		p.mu.Lock()
		p.electing = nil
		p.mu.Unlock()
		close(e.done)
	})
	return e, nil
}

// vote is what came of asking a node.
type vote struct {
	node    *node
	reached bool
	err     error
}

// run asks the candidates. It is over with the first that answers as it should,
// or once all have failed.
func (e *election) run(p *pool) {
	ctx, cancel := context.WithTimeout(p.ctx, helloTimeout)
	all := p.candidates()
	slices.SortStableFunc(all, func(a, b *node) int { return cmp.Compare(later(a), later(b)) })
	votes := make(chan vote, len(all))
	asked, open := 0, 0
	stagger := time.NewTimer(0)
	defer stagger.Stop()
	for e.node == nil && (open > 0 || asked < len(all)) {
		select {
		case <-stagger.C:
			if asked < len(all) {
				n := all[asked]
				asked++
				open++
				p.wg.Go(func() {
					reached, err := n.hello(ctx)
					votes <- vote{n, reached, err}
				})
				stagger.Reset(staggerAfter)
			}
		case v := <-votes:
			open--
			e.count(v)
			stagger.Reset(0) // the next one, if there is one
		}
	}
	cancel()
	if e.node != nil {
		p.home.Store(e.node)
		p.wg.Go(func() {
			for range open {
				<-votes
			}
			for _, n := range all[:asked] {
				if n != e.node {
					n.shed()
				}
			}
		})
	}
}

// later is where a node stands in the order: behind the others if it could not
// be reached a moment ago.
func later(n *node) int {
	if n.isDown() {
		return 1
	}
	return 0
}

// count counts a vote. Of several errors, one that a node gave says more than
// that another one was not reached, and one that will not pass by itself says
// most.
func (e *election) count(v vote) {
	passes := func(err error) bool { return errors.Is(err, api.ErrUnavailable) }
	switch {
	case v.err == nil:
		e.node, e.err = v.node, nil
	case e.err == nil, passes(e.err) && !passes(v.err), passes(e.err) && !e.reached && v.reached:
		e.err, e.reached = v.err, v.reached
	}
}
