package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
)

// Member is this node's part of the cluster. Open makes one.
type Member struct {
	config  Config
	logger  *slog.Logger
	metrics *metrics
	machine *machine

	// Set by Open, in this order, and closed in the reverse one.
	dir       *dataDir // nil: in memory
	stores    *stores
	me        self
	boot      boot
	began     uint64    // the last raft index on disk when this boot began
	founders  []founder // the first voters, if this boot is to make raft's first configuration
	gossip    *gossip   // nil in a group of one that needs no network, as are the next two
	streams   *streams
	doorman   *doorman
	transport raftTransport
	raft      *raft.Raft
	ready     chan struct{} // closed once raft is set

	logBusy, workBusy stall // of raft's store, and of the state
	space             space
	joining           chan struct{}             // holds one while a node is being taken into the group
	reigned           atomic.Pointer[time.Time] // since when it leads; nil while it does not
	roster            roster
	life              context.Context // ends when closing is closed
	endLife           context.CancelFunc

	// How it works with the others; made by initLeases.
	leadership leadership
	answers    answers
	confirms   rounds // of Confirm
	reign      rounds // confirmations that this member leads
	keeper     *keeper
	renewing   *renewing
	table      *table
	gossiped   func(identity string) (grpc string) // where gossip says that a member serves; may be nil

	// barrierTerm is a term in which a barrier of ours has passed.
	barrierTerm atomic.Uint64
	committed   chan struct{} // holds one when something was committed here: see nudging
	// slots bounds the proposals and confirmations under way.
	slots chan struct{}

	failed    chan struct{} // closed by the first fail
	failOnce  sync.Once
	cause     error // why it failed; set before failed is closed
	closing   chan struct{}
	closeOnce sync.Once
	closeErr  error

	// running counts goroutines; mu keeps Close's Wait from meeting an Add.
	running sync.WaitGroup
	mu      sync.Mutex
	closed  bool // guarded by mu
}

// slotsMax bounds how many calls wait for raft at once, and with it the
// goroutines and memory that they take. Further ones wait for their turn.
const slotsMax = 256

// Open makes this process a member, and returns once it is ready. See the
// package comment for its steps; after an error, and after a crash at any
// point, it may be called again. Canceling ctx ends the wait.
func Open(ctx context.Context, c Config) (_ *Member, err error) {
	c, err = c.validate()
	if err != nil {
		return nil, err
	}
	m := newMember(c)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open cluster member: %w", err), m.Close())
		}
	}()
	if err := m.openDisk(); err != nil {
		return nil, err
	}
	if err := m.openNetwork(); err != nil {
		return nil, err
	}
	if err := m.claim(ctx); err != nil {
		return nil, err
	}
	if err := m.startRaft(); err != nil {
		return nil, err
	}
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	if err := m.register(ctx); err != nil {
		return nil, err
	}
	if err := m.metrics.register(c.Registerer, m.machine); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	m.openSpace()
	m.logger.Info("cluster member is ready", "identity", m.me.Identity, "boot", m.boot.Number, "cluster", m.me.Cluster)
	return m, nil
}

// newMember returns a member of which nothing is open; c is validated.
func newMember(c Config) *Member {
	m := &Member{
		config:    c,
		logger:    c.Logger,
		metrics:   newMetrics(),
		slots:     make(chan struct{}, slotsMax),
		ready:     make(chan struct{}),
		joining:   make(chan struct{}, 1),
		committed: make(chan struct{}, 1),
		failed:    make(chan struct{}),
		closing:   make(chan struct{}),
	}
	m.life, m.endLife = context.WithCancel(context.Background())
	m.machine = newMachine(m.fail, m.metrics)
	m.initLeases()
	return m
}

// Identity returns the name of this node for ever: Config.Name plus a random
// part made with the data directory.
func (m *Member) Identity() string { return m.me.Identity }

// Name returns the name that was configured when the data directory was made.
func (m *Member) Name() string { return m.me.Name }

// Boot returns the number of this start of the node; the first is 1.
func (m *Member) Boot() uint64 { return m.boot.Number }

// Nonce returns a random number of this boot's own.
func (m *Member) Nonce() fragment.Nonce { return m.boot.nonce }

// ClusterID returns the id of the cluster.
func (m *Member) ClusterID() fragment.ClusterID { return m.me.cluster }

// Incarnation returns the cluster's incarnation.
func (m *Member) Incarnation() uint64 {
	var n uint64
	m.View(func(s *fsm.State) { n = s.Cluster().Incarnation })
	return n
}

// Applied returns the raft index of the last command applied here, which is
// what fragments carry in their headers.
func (m *Member) Applied() uint64 {
	var n uint64
	m.View(func(s *fsm.State) { n = s.AppliedIndex() })
	return n
}

// View calls f with the state as it is applied here. f must neither keep nor
// change it, nor call the member; what the state hands out may be kept.
// Commands wait meanwhile.
func (m *Member) View(f func(*fsm.State)) { m.machine.view(f) }

// Failed is closed when the member can't go on: a command was committed that
// this version does not know or that breaks an invariant, or raft's store
// could not be written. The node must stop then; Err tells why.
func (m *Member) Failed() <-chan struct{} { return m.failed }

// Err returns why the member failed, an ErrFailed, and nil while it has not.
func (m *Member) Err() error {
	select {
	case <-m.failed:
		return fmt.Errorf("%w: %w", ErrFailed, m.cause)
	default:
		return nil
	}
}

func (m *Member) fail(err error) {
	m.failOnce.Do(func() {
		m.cause = err
		m.metrics.failed.Set(1)
		close(m.failed)
		m.logger.Error("cluster member has failed, the node must stop", "err", err)
	})
}

// Close lets the proposals under way end, takes no further ones, stops raft,
// waits for everything that the member has started, and gives the data
// directory free. Later calls return what the first one did.
func (m *Member) Close() error {
	m.closeOnce.Do(func() { m.closeErr = m.close() })
	return m.closeErr
}

func (m *Member) close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	var errs []error
	// The transport goes first: see watchedStores.
	if m.transport != nil {
		errs = append(errs, m.transport.Close())
	} else if m.streams != nil {
		errs = append(errs, m.streams.Close())
	}
	close(m.closing)
	m.endLife()
	if m.gossip != nil {
		errs = append(errs, m.gossip.close())
	}
	// What is under way ends before raft does: raft never answers what it
	// finds in its queue when it shuts down.
	m.running.Wait()
	if m.raft != nil {
		errs = append(errs, m.raft.Shutdown().Error())
	}
	m.metrics.unregister(m.config.Registerer)
	if m.stores != nil {
		errs = append(errs, guard(m.stores.close))
	}
	if m.dir != nil {
		errs = append(errs, m.dir.close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close cluster member: %w", err)
	}
	return nil
}
