package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/rpc/server"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// Node is one running node. Safe for concurrent use.
type Node struct {
	cfg     Config
	started time.Time

	grpcListener, httpListener net.Listener // nil: none
	grpcAddr                   string       // what others are told; empty: there are none

	store   *blobstore.Bucket
	member  *cluster.Member
	logs    *wal.Service
	service *service // what is served by a node that is one of several; nil: logs
	peers   *peers   // nil: there are none
	client  *wpd.Client
	server  *server.Server // nil without a listener
	early   error          // why it could not be served before the node was open
	ready   chan struct{}  // closed once calls can come for what is above
	errand  errand
	check   storeCheck

	measurements measurements

	closers  []func(context.Context) error // in the order of opening; ctx ends with the close timeout
	draining context.Context               // ends when Close begins
	drain    context.CancelFunc
	closing  context.Context // ends when Close gives up, or has ended
	giveUp   context.CancelFunc
	wg       sync.WaitGroup
	once     sync.Once
	err      error
}

// Open starts a node: the bucket, the metadata, the logs, then the listeners.
// Metrics and health are served from the beginning: a node that waits for others
// is alive.
// It returns when appends and reads can begin; after a crash, what the last
// boot left behind is sealed first. ctx bounds the opening only.
//
// Errors say what is wrong with an address (*InsecureError, or the system's),
// with the bucket (package blobstore; *BucketError, *UnsafeBucketError), with the data directory or its belonging
// to the bucket (package cluster), or with what the bucket holds (package
// segment).
func Open(ctx context.Context, c Config) (_ *Node, err error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("open node: %w", err)
	}
	n := &Node{cfg: c, started: time.Now(), ready: make(chan struct{}), measurements: measurements{swept: make(chan struct{})}}
	n.draining, n.drain = context.WithCancel(context.Background())
	n.closing, n.giveUp = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = fmt.Errorf("open node: %w", errors.Join(err, n.Close()))
		}
	}()
	if err := n.takeAddresses(); err != nil {
		return nil, err
	}
	n.serveHTTP()
	if err := n.openLogs(ctx); err != nil {
		return nil, err
	}
	if err := n.registerMetrics(); err != nil {
		return nil, err
	}
	close(n.ready)
	if n.service != nil {
		n.openService()
	} else {
		n.client = wpd.NewClient(n.logs)
		n.closers = append(n.closers, n.closeClient)
		if err := n.serveGRPC(n.logs, n.member); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// opened returns the node's logs; nil: it is not open yet. Before, what a node
// has must not be looked at, but for the member by calls that come by gRPC.
func (n *Node) opened() *wal.Service {
	select {
	case <-n.ready:
		return n.logs
	default:
		return nil
	}
}

// here returns the node's logs, once it is open.
func (n *Node) here(ctx context.Context) (*wal.Service, error) {
	if logs := n.opened(); logs != nil {
		return logs, nil
	}
	select {
	case <-n.ready:
		return n.logs, nil
	case <-n.draining.Done():
		return nil, api.ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %s: %w", api.ErrUnavailable, starting, ctx.Err())
	}
}

// starting is why a node can do nothing before it is open.
const starting = "the node is starting"

// openLogs opens the bucket, the metadata and the logs.
func (n *Node) openLogs(ctx context.Context) (err error) {
	c := &n.cfg
	store, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	n.store = store
	n.closers = append(n.closers, func(context.Context) error { return closeStore() })
	if c.Store == nil {
		if err := c.probe(ctx, store); err != nil {
			return err
		}
	}
	if err := n.openMember(ctx); err != nil {
		return err
	}
	logs := c.Log
	if n.peers != nil {
		logs.Peers = n.peers
	}
	logs.Admit = n.admit
	logs.Store, logs.Meta, logs.Logger, logs.Registerer = store, n.member, c.Logger, c.Registerer
	logs.Identity = wal.Identity{
		Cluster: n.member.ClusterID(), Incarnation: n.member.Incarnation(),
		Node: n.member.Identity(), Boot: n.member.Boot(), Nonce: n.member.Nonce(),
	}
	if n.logs, err = wal.Open(ctx, logs); err != nil {
		return err
	}
	n.closers = append(n.closers, n.logs.Close)
	n.wg.Go(n.watch)
	n.wg.Go(n.sweepFirst)
	n.closers = append(n.closers, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, n.cfg.CloseTimeout/4)
		defer cancel()
		n.closeErrand(ctx)
		n.endMeasuring(ctx)
		return nil
	})
	return nil
}

// watch stops writing when the metadata has failed.
func (n *Node) watch() {
	select {
	case <-n.member.Failed():
		n.logs.Fail(n.member.Err())
	case <-n.draining.Done():
	}
}

func (n *Node) closeClient(context.Context) error { return n.client.Close() }

// Client returns the client of this node. It is closed with the node.
func (n *Node) Client() *wpd.Client { return n.client }

// Logs returns the service behind the client.
func (n *Node) Logs() *wal.Service { return n.logs }

// Failed is closed when the node can't write any more: something foreign
// stands in its chain, its metadata can't be trusted, or nobody can reach it.
// Err says why. Close it then.
func (n *Node) Failed() <-chan struct{} { return n.logs.Failed() }

// Err says why Failed is closed.
func (n *Node) Err() error { return n.logs.Err() }

// Close drains the node: it takes no new work from its listeners, answers what
// it took, flushes, seals its chain, and stops, within CloseTimeout. One of
// several hands over its logs and its part as the leader first. An error
// means that something was not flushed, or not sealed; then the next Open does
// it. Idempotent.
func (n *Node) Close() error {
	n.once.Do(func() { n.err = n.close() })
	return n.err
}

func (n *Node) close() error {
	n.drain()
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.CloseTimeout)
	defer cancel()
	defer n.giveUp()
	defer context.AfterFunc(ctx, n.giveUp)()
	if n.server != nil {
		n.server.Drain()
	}
	var errs []error
	for i := len(n.closers) - 1; i >= 0; i-- {
		errs = append(errs, n.closers[i](ctx))
	}
	n.wg.Wait()
	return errors.Join(errs...)
}
