package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/wpd-io/wpd/fragment"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
)

const (
	// watchEvery is how often it is looked for batches that get no answer.
	watchEvery = time.Second
	// stuckAfter is how long batches of a log may get no answer until other
	// nodes are asked who writes the log now: a node that was paused, or cut
	// off, may keep its connections for long after another has taken over. A
	// store is seldom as slow.
	stuckAfter = 2 * time.Second
	// askedMax bounds how many are asked at a time.
	askedMax = 8
)

// errStuck is why a stream was cut.
var errStuck = errors.New("the node does not answer, and another one writes the log now")

// watchLocked begins to look for batches that get no answer, unless somebody
// does.
func (r *routes) watchLocked() {
	if !r.watching && r.pool.follows {
		r.watching = r.pool.start(r.watch) == nil
	}
}

// watch looks for batches that get no answer, as long as there are batches.
func (r *routes) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-r.pool.ctx.Done():
			return
		}
		stuck, over := r.stuck()
		if over {
			return
		}
		for n, log := range stuck {
			r.check(n, log)
		}
	}
}

// stuck returns the nodes that do not answer, with one log of each; or that
// there is nothing to watch.
func (r *routes) stuck() (stuck map[*node]fragment.LogID, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.flows) == 0 {
		r.watching = false
		return nil, true
	}
	stuck = make(map[*node]fragment.LogID)
	for log, f := range r.flows {
		if time.Since(f.moved) >= stuckAfter {
			stuck[f.at] = log
		}
	}
	return stuck, false
}

// check asks other nodes who writes a log of which a node answers nothing. If it
// is not that one, its stream is cut: what it did not answer is uncertain, and
// who appended it sends it again, to the node that writes the log now.
func (r *routes) check(n *node, log fragment.LogID) {
	r.ask(n, log)
	r.mu.Lock()
	f := r.flows[log]
	moved := f != nil && f.at == n && time.Since(f.moved) >= stuckAfter && r.targetLocked(log) != n
	r.mu.Unlock()
	if moved {
		r.pool.lost(n)
		n.appends.end(errStuck)
	}
}

// ask asks other nodes than n who writes a log, side by side, since any of them
// may be as silent, and learns the first answer that is another node than n: one
// that is cut off, too, may still name that one.
func (r *routes) ask(n *node, log fragment.LogID) {
	ctx, cancel := context.WithTimeout(r.pool.ctx, watchEvery)
	defer cancel()
	others := slices.DeleteFunc(r.pool.candidates(), func(x *node) bool { return x == n || x.isDown() })
	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	others = others[:min(len(others), askedMax)]
	type answer struct {
		from *node
		addr string
		err  error
	}
	answers := make(chan answer, len(others))
	for _, x := range others {
		r.pool.wg.Go(func() {
			addr, err := x.writerOf(ctx, log)
			if err != nil {
				x.shed()
			}
			answers <- answer{x, addr, err}
		})
	}
	for range others {
		a := <-answers
		if a.err != nil || n.isAt(a.addr) {
			continue
		}
		if a.addr == "" {
			a.addr = a.from.addr // nobody does; whoever is asked first sees to that
		}
		r.learn(a.from, log, a.addr, true)
		return
	}
}

// writerOf asks the node where a log is written.
func (n *node) writerOf(ctx context.Context, log fragment.LogID) (addr string, err error) {
	_, err = n.once(ctx, harmless, func(ctx context.Context, c *conn, opts ...grpc.CallOption) error {
		w, err := c.log.GetWriter(ctx, &logv1.GetWriterRequest{LogId: uint64(log)}, opts...)
		addr = w.GetAddr()
		return err
	})
	return addr, err
}
