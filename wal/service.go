package wal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/api"
)

// Service is this node's logs. It implements api.Service.
type Service struct {
	cfg      Config
	cache    *segment.Cache
	reader   *segment.Reader
	ahead    shared // of all readers
	segments *segment.Metrics
	metrics  *metrics

	ctx    context.Context // of what goes on behind the calls
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.RWMutex
	logs   map[fragment.LogID]*log
	chain  *chain                    // the one that logs are attached to; nil while there is none
	chains map[fragment.Epoch]*chain // those this process wrote, until their seal is committed
	ready  chan struct{}             // closed once there is a chain, or failed is set
	failed error                     // why this node writes nothing any more
	closed bool

	failure chan struct{} // closed with failed
}

var _ api.Service = (*Service)(nil)

// chain is one that this process writes.
type chain struct {
	epoch  fragment.Epoch
	writer *segment.Writer
}

// Open ends what earlier boots of this node left open, begins a chain, and
// returns the service. It needs the metadata to be caught up.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Service{
		cfg:      cfg,
		cache:    segment.NewCache(cfg.CacheBytes),
		segments: segment.NewMetrics(cfg.Registerer),
		metrics:  newMetrics(),
		logs:     make(map[fragment.LogID]*log),
		chains:   make(map[fragment.Epoch]*chain),
		ready:    make(chan struct{}),
		failure:  make(chan struct{}),
	}
	if err := s.metrics.register(cfg.Registerer, s); err != nil {
		return nil, err
	}
	s.reader = segment.NewReader(cfg.Store, s.cache)
	s.ahead.most = cfg.PrefetchNodeBytes
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.begin(ctx); err != nil {
		s.cancel()
		s.reader.Close()
		s.metrics.unregister()
		return nil, err
	}
	return s, nil
}

// begin seals every chain that is not, and starts a new one.
func (s *Service) begin(ctx context.Context) error {
	for _, c := range s.unsealed() {
		if err := s.seal(ctx, c); err != nil {
			return err
		}
	}
	epoch, err := s.cfg.Meta.Grant(ctx, s.cfg.Window)
	if err != nil {
		return fmt.Errorf("get a chain epoch: %w", err)
	}
	c := &chain{epoch: epoch}
	c.writer, err = segment.Create(ctx, s.cfg.Store, s.identity(epoch), segment.Options{
		FragmentBytes: s.cfg.FragmentBytes,
		FlushInterval: s.cfg.FlushInterval,
		BufferBytes:   s.cfg.BufferBytes,
		CutBytes:      s.cfg.CutBytes,
		CutAge:        s.cfg.CutAge,
		CutFragments:  s.cfg.CutFragments,
		Durable:       s.durable,
		Commit:        func(ctx context.Context, cut segment.Cut) error { return s.commitCut(ctx, epoch, cut) },
		Applied:       s.cfg.Meta.Applied,
		Over:          func(err error) { s.over(c, err) },
		Cache:         s.cache,
		Logger:        s.cfg.Logger,
		Metrics:       s.segments,
	})
	if err != nil {
		return fmt.Errorf("open chain %d: %w", uint64(epoch), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed { // while it was being replaced; the next boot seals it
		return errors.Join(api.ErrClosed, c.writer.Close(ctx))
	}
	s.chains[epoch] = c
	if s.failed != nil { // meanwhile; ready is closed already
		return s.failed
	}
	s.chain = c
	close(s.ready)
	return nil
}

func (s *Service) identity(e fragment.Epoch) segment.Chain {
	id := s.cfg.Identity
	return segment.Chain{
		Cluster: id.Cluster, Incarnation: id.Incarnation, Epoch: e,
		Node: id.Node, Boot: id.Boot, Nonce: id.Nonce, Window: uint64(s.cfg.Window),
	}
}

// unsealed lists the chains that somebody has to end.
func (s *Service) unsealed() []*fsm.Chain {
	var open []*fsm.Chain
	s.cfg.Meta.View(func(m *fsm.State) {
		for c := range m.Chains() {
			if c.State != fsm.ChainSealed {
				open = append(open, c)
			}
		}
	})
	return open
}

// current returns the chain to write to, waiting for a new one if the last is
// over.
func (s *Service) current(ctx context.Context) (*chain, error) {
	for {
		s.mu.RLock()
		c, ready, failed, closed := s.chain, s.ready, s.failed, s.closed
		s.mu.RUnlock()
		switch {
		case closed:
			return nil, api.ErrClosed
		case failed != nil:
			return nil, fmt.Errorf("%w: %w", api.ErrUnavailable, failed)
		case c != nil:
			return c, nil
		}
		select {
		case <-ready:
		case <-s.ctx.Done():
			return nil, api.ErrClosed
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: no chain to write to: %w", api.ErrUnavailable, ctx.Err())
		}
	}
}

// over is told by a chain's writer that its chain ended under it: somebody
// sealed it, or something foreign stands in its place. A sealed chain is
// followed by a new one; anything else stops this node's writing.
func (s *Service) over(c *chain, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.chain != c {
		return
	}
	s.chain, s.ready = nil, make(chan struct{})
	if !errors.Is(err, segment.ErrSealed) {
		s.failLocked(err)
		return
	}
	s.cfg.Logger.Warn("chain was sealed by somebody else; going on with a new one", "chain", c.epoch)
	s.wg.Go(func() { s.replace(c) })
}

// replace ends a chain that is over and begins the next. What waited for the
// old one was answered "moved" and comes again.
func (s *Service) replace(c *chain) {
	_ = c.writer.Close(s.ctx) // it is over already: only its goroutines are waited for
	if err := s.begin(s.ctx); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.closed {
			s.failLocked(err)
		}
		return
	}
	s.mu.RLock()
	logs := slices.Collect(maps.Values(s.logs))
	s.mu.RUnlock()
	for _, l := range logs {
		l.mu.Lock()
		here := l.chain == c
		l.mu.Unlock()
		if here { // followers go on with what the seal counted
			if err := s.load(s.ctx, l); err != nil {
				s.cfg.Logger.Warn("load log after its chain was sealed; the next use does it", "log", l.name, "err", err)
			}
		}
	}
}

func (s *Service) failLocked(err error) {
	if s.failed != nil {
		return
	}
	s.failed = err
	s.cfg.Logger.Error("this node writes no more", "err", err)
	close(s.ready)
	close(s.failure)
}

// Fail stops this node's writing, because something that it rests on failed.
func (s *Service) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil || s.closed {
		return
	}
	if s.chain != nil {
		s.chain, s.ready = nil, make(chan struct{})
	}
	s.failLocked(err)
}

// Failed is closed when this node can't write any more; Err says why. Reads
// go on.
func (s *Service) Failed() <-chan struct{} { return s.failure }

// Err says why Failed is closed.
func (s *Service) Err() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.failed
}

// Creates is the number of objects created by chains so far.
func (s *Service) Creates() uint64 { return s.segments.Creates() }

// Cache returns the cache of fragments, for its statistics.
func (s *Service) Cache() *segment.Cache { return s.cache }

// Close flushes and seals, as long as ctx allows, and stops. What could not
// be flushed has an unknown outcome, and the next Open seals then. Streams
// must be closed before. Idempotent.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.wg.Wait()
		return nil
	}
	s.closed = true
	live := s.chain
	chains := slices.Collect(maps.Values(s.chains))
	logs := slices.Collect(maps.Values(s.logs))
	s.mu.Unlock()
	for _, l := range logs {
		l.wake() // followers learn that it is over
	}
	var err error
	for _, c := range chains {
		if c == live {
			err = errors.Join(err, s.end(ctx, c))
		} else {
			err = errors.Join(err, c.writer.Close(ctx)) // it failed, or is being replaced
		}
	}
	s.cancel()
	s.wg.Wait()
	s.reader.Close()
	s.metrics.unregister()
	return err
}

// end brings this node's chain to its end: everything durable, cut, sealed.
func (s *Service) end(ctx context.Context, c *chain) error {
	err := c.writer.Flush(ctx)
	if err == nil {
		err = c.writer.CutNow(ctx)
	}
	if err := errors.Join(err, c.writer.Close(ctx)); err != nil {
		return fmt.Errorf("close chain %d: %w", uint64(c.epoch), err)
	}
	var meta *fsm.Chain
	s.cfg.Meta.View(func(m *fsm.State) { meta, _ = m.Chain(c.epoch) })
	return s.seal(ctx, meta)
}
