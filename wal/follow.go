package wal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/api"
)

// followIdle is for how long a chain is followed that nobody reads any more.
const followIdle = 3 * time.Minute

// errOver: a chain is not followed any more: it is sealed, or nobody read it.
var errOver = errors.New("the chain is not followed any more")

// follows are the chains that this node reads and does not write, until they
// are sealed: those of other nodes, and of its own earlier boots.
type follows struct {
	mu      sync.Mutex
	chains  map[fragment.Epoch]*follow
	reading map[*log]int         // streams that are open; their logs' moves are watched
	seen    map[*log]whereabouts // of these logs
}

func newFollows() follows {
	return follows{chains: make(map[fragment.Epoch]*follow), reading: make(map[*log]int), seen: make(map[*log]whereabouts)}
}

// follow is one of these chains. Its writer's feed tells what becomes durable;
// as long as there is none, and somebody waits, the bucket does.
//
// Locks are taken in this order: follows.mu, then that of chain, which calls
// back, then mu, then log.mu; follows.mu also comes before Service.mu. So chain
// is asked under follows.mu at most, and not while the metadata are viewed: it may
// be busy with many news.
type follow struct {
	s      *Service
	epoch  fragment.Epoch
	node   string // identity of its writer
	chain  *segment.Follower
	walks  rounds[struct{}]
	filled chan struct{} // closed once chain knows what was durable at some time
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	logs    map[fragment.LogID]*log // whose tails it moves
	turn    uint64                  // counts resets
	waiting int                     // calls that wait for something of it
	used    time.Time               // when a call asked for it last
	stirred chan struct{}           // closed and replaced when somebody begins to wait, or live changes
	live    bool                    // a feed tells all that is durable
	full    bool                    // filled is closed
	trouble error                   // why the bucket did not tell
}

// follow returns a chain that this node does not write, to be read. Errors:
// api.ErrClosed.
func (s *Service) follow(c *fsm.Chain) (*follow, error) {
	s.follows.mu.Lock()
	defer s.follows.mu.Unlock()
	f := s.follows.chains[c.Epoch]
	if f == nil {
		f = &follow{
			s: s, epoch: c.Epoch, node: c.Node,
			filled: make(chan struct{}), stirred: make(chan struct{}), logs: make(map[fragment.LogID]*log),
		}
		f.chain = segment.NewFollower(chainOf(s.cfg.Identity.Cluster, c), cutsOf(c), segment.FollowerOptions{Durable: f.durable, Reset: f.reset})
		f.ctx, f.cancel = context.WithCancel(s.ctx)
		if !s.spawn(f.run) {
			f.cancel()
			return nil, api.ErrClosed
		}
		s.follows.chains[c.Epoch] = f
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used = time.Now()
	return f, nil
}

// followed counts the chains that are followed.
func (s *Service) followed() int {
	s.follows.mu.Lock()
	defer s.follows.mu.Unlock()
	return len(s.follows.chains)
}

// run follows the chain until it is sealed, or nobody needs it.
func (f *follow) run() {
	var wg sync.WaitGroup
	if f.fed() {
		wg.Go(f.listen)
	}
	wg.Go(f.walkOn)
	tick := time.NewTicker(followIdle / 4)
	defer tick.Stop()
	for !f.s.drop(f) {
		select {
		case <-tick.C:
		case <-f.ctx.Done():
		}
	}
	wg.Wait()
}

// drop forgets a chain that is over, or that nobody needs.
func (s *Service) drop(f *follow) bool {
	s.follows.mu.Lock()
	defer s.follows.mu.Unlock()
	if f.ctx.Err() == nil && f.needed(s.follows.reading) {
		return false
	}
	delete(s.follows.chains, f.epoch)
	f.cancel()
	return true
}

// needed says whether anybody has used it lately, or reads one of its logs.
func (f *follow) needed(reading map[*log]int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting > 0 || time.Since(f.used) < followIdle {
		return true
	}
	for id, l := range f.logs {
		switch {
		case l.following() != f:
			delete(f.logs, id) // it moved on
		case reading[l] > 0:
			return true
		}
	}
	return false
}

// enter says that somebody waits for something of the chain; leave must follow.
func (f *follow) enter() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting++
	f.used = time.Now()
	if f.waiting == 1 {
		f.stirLocked()
	}
}

func (f *follow) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting--
}

func (f *follow) stirLocked() {
	close(f.stirred)
	f.stirred = make(chan struct{})
}

// await waits until it is known what was durable at some time. Errors: errOver.
func (f *follow) await(ctx context.Context) error {
	select {
	case <-f.filled:
		return nil
	default:
	}
	f.enter()
	defer f.leave()
	select {
	case <-f.filled:
		return nil
	case <-f.ctx.Done():
		return errOver
	case <-ctx.Done():
		return f.unknown(ctx.Err())
	}
}

// unknown is the error of who stops waiting.
func (f *follow) unknown(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.trouble != nil && !errors.Is(err, f.trouble) {
		err = fmt.Errorf("%w (%w)", err, f.trouble)
	}
	return fmt.Errorf("%w: what chain %d of node %s holds is not known yet: %w", api.ErrUnavailable, uint64(f.epoch), f.node, err)
}

// sync returns once all is known that was durable at the call, by what is in the
// bucket. Those that call at a time share the work. Errors: errOver.
func (f *follow) sync(ctx context.Context) error {
	f.enter()
	defer f.leave()
	err := f.walked(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() == nil && f.ctx.Err() != nil:
		return errOver
	}
	return f.unknown(err)
}

// readable returns a chain as far as it can be read; one that this node does not
// write is followed for that, until it is sealed.
func (s *Service) readable(ctx context.Context, e fragment.Epoch) (segment.View, *follow, error) {
	for {
		v, err := s.view(e)
		if err != nil || v.Sealed != nil || v.Open != nil {
			return v, nil, err
		}
		c, ok := s.chainMeta(e)
		if !ok || c.State == fsm.ChainSealed {
			continue
		}
		f, err := s.follow(c)
		if err == nil {
			err = f.await(ctx)
		}
		switch {
		case err == nil:
			v.Open = f.chain
			return v, f, nil
		case !errors.Is(err, errOver):
			return v, nil, err
		}
	}
}
