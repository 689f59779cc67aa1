package wal

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

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
	room     *semaphore.Weighted // bytes that are not durable yet, of all chains
	ahead    shared              // of all readers
	segments *segment.Metrics
	metrics  *metrics
	scrub    *scrubber

	ctx      context.Context // of what goes on behind the calls
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	granting atomic.Int64 // chains that are being opened
	draining atomic.Bool
	reports  reports
	follows  follows

	mu      sync.RWMutex
	logs    map[fragment.LogID]*log
	berths  map[fragment.LogID]*berth // of logs with a chain of their own; 0: of all others
	chains  map[fragment.Epoch]*chain // those this process wrote, until their seal is committed
	sealing map[fragment.Epoch]bool   // chains that this node is sealing
	awaited map[fragment.Epoch]chan struct{}
	failed  error // why this node writes nothing any more
	closed  bool

	failure chan struct{} // closed with failed
}

var _ api.Service = (*Service)(nil)

// Open ends what earlier boots of this node left open, begins a chain, and
// returns the service. It needs the metadata to be caught up.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Service{
		cfg:      cfg,
		cache:    segment.NewCache(cfg.CacheBytes),
		room:     semaphore.NewWeighted(max(cfg.BufferBytes, bufferBytesMin)),
		segments: segment.NewMetrics(cfg.Registerer),
		metrics:  newMetrics(),
		logs:     make(map[fragment.LogID]*log),
		berths:   make(map[fragment.LogID]*berth),
		chains:   make(map[fragment.Epoch]*chain),
		sealing:  make(map[fragment.Epoch]bool),
		awaited:  make(map[fragment.Epoch]chan struct{}),
		failure:  make(chan struct{}),
		follows:  newFollows(),
	}
	s.scrub = newScrubber(s)
	if err := s.metrics.register(cfg.Registerer, s); err != nil {
		return nil, err
	}
	s.reader = segment.NewReader(cfg.Store, s.cache)
	s.ahead.most = cfg.PrefetchNodeBytes
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.begin(ctx); err != nil {
		s.cancel()
		s.wg.Wait()
		s.reader.Close()
		s.metrics.unregister()
		return nil, err
	}
	s.wg.Go(s.watchChains)
	s.wg.Go(s.watchLogs)
	s.wg.Go(s.watchFollowed)
	if cfg.ScrubBytesPerSec > 0 {
		s.wg.Go(s.scrub.run)
	}
	return s, nil
}

// sealsAtOnce bounds how many chains a node seals at a time when it starts.
const sealsAtOnce = 8

// bufferBytesMin is the least room for what is not durable yet: the largest batch,
// which is a little larger than a fragment, fits while another one is in flight.
const bufferBytesMin = 3 * fragment.FragmentBytes

// begin seals what earlier boots of this node left open, and opens a chain.
func (s *Service) begin(ctx context.Context) error {
	g, sealing := errgroup.WithContext(ctx)
	g.SetLimit(sealsAtOnce)
	for _, c := range s.unsealed() {
		if c.Node == s.cfg.Identity.Node {
			g.Go(func() error { return s.seal(sealing, c) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	b := &berth{ready: make(chan struct{})}
	s.berths[0] = b
	return s.open(ctx, b)
}

// unsealed lists the chains that somebody has to end.
func (s *Service) unsealed() []*fsm.Chain {
	var all []*fsm.Chain
	s.cfg.Meta.View(func(m *fsm.State) { all = slices.Collect(m.Unsealed()) })
	return all
}

// spawn runs f behind the calls, unless the service is closed.
func (s *Service) spawn(f func()) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return false
	}
	s.wg.Go(f)
	return true
}

func (s *Service) failLocked(err error) {
	if s.failed != nil {
		return
	}
	s.failed = err
	s.cfg.Logger.Error("this node writes no more", "err", err)
	for _, c := range s.stopLocked() {
		s.wg.Go(func() { s.awaitEnd(c) })
	}
	close(s.failure)
}

// stopLocked lets nothing more into any chain, and returns those that took
// batches.
func (s *Service) stopLocked() (stopped []*chain) {
	clear(s.berths)
	for _, c := range s.chains {
		if c.alive() {
			close(c.over)
			stopped = append(stopped, c)
		}
	}
	return stopped
}

// liveChains are those that take batches.
func (s *Service) liveChains() []*chain {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.DeleteFunc(slices.Collect(maps.Values(s.chains)), func(c *chain) bool { return !c.alive() })
}

// Fail stops this node's writing, because something that it rests on failed.
func (s *Service) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.failLocked(err)
	}
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
