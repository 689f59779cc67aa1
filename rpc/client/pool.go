package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/wpd-io/wpd/rpc"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

const (
	// nodesMax bounds the nodes that a client knows: what nodes tell it of
	// others must not fill its memory.
	nodesMax = 1024
	// foreignFor is for how long a node that turned out to be of another cluster
	// is left alone.
	foreignFor = 30 * time.Second
)

// pool is a client's connections to the nodes of one cluster. Most calls go to
// one of them, its home, as long as that answers. Safe for concurrent use.
type pool struct {
	cfg     Config
	follows bool // it goes to nodes that other nodes tell of
	wg      sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc
	home    atomic.Pointer[node] // nil: none is known to answer
	routes  *routes

	mu       sync.Mutex // guards what follows
	cluster  string     // UUID; "" before the first node has answered
	nodes    map[string]*node
	told     []string // addresses of further nodes, as the last that was greeted told them
	electing *election
	closed   bool
}

func newPool(c Config) (*pool, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	p := &pool{cfg: c, cluster: c.Cluster, nodes: make(map[string]*node)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.routes = newRoutes(p)
	for _, addr := range c.Addrs {
		p.nodeAt(addr)
	}
	return p, nil
}

// nodeAt returns the node at an address; nil if that can't be one, or if there
// are too many.
func (p *pool) nodeAt(addr string) *node {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[addr]
	if n == nil && isAddr(addr) && len(p.nodes) < nodesMax {
		n = newNode(p, addr)
		p.nodes[addr] = n
	}
	return n
}

// candidates are the nodes that may be home, in the order in which they are
// tried.
func (p *pool) candidates() []*node {
	addrs := p.cfg.Addrs
	p.mu.Lock()
	addrs = slices.Concat(addrs, p.told)
	p.mu.Unlock()
	var all []*node
	for _, addr := range addrs {
		if n := p.nodeAt(addr); n != nil && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all
}

// fallback is the node for what could go to any: home, or, where none is known
// to answer, the candidate that is least known not to.
func (p *pool) fallback() *node {
	if n := p.home.Load(); n != nil {
		return n
	}
	return slices.MinFunc(p.candidates(), func(a, b *node) int { return a.downUntil().Compare(b.downUntil()) })
}

// met notes that a node has said who it is. Errors: *api.WrongClusterError.
func (p *pool) met(n *node, hello *logv1.HelloResponse) error {
	p.mu.Lock()
	if p.cluster == "" {
		p.cluster = hello.GetClusterId()
	}
	if p.cluster != hello.GetClusterId() {
		p.mu.Unlock()
		return &api.WrongClusterError{Have: hello.GetClusterId()}
	}
	if p.follows {
		others := hello.GetOtherAddrs()
		p.told = append([]string{n.addr}, others[:min(len(others), nodesMax)]...)
	}
	p.mu.Unlock()
	n.greeted(hello.GetAddr())
	p.home.CompareAndSwap(nil, n)
	return nil
}

// lost notes that a node can't be reached, or is about to stop. What was meant
// for it goes elsewhere for a while.
func (p *pool) lost(n *node) {
	n.failed()
	p.routes.drop(n)
	if p.home.CompareAndSwap(n, nil) {
		_, _ = p.elect() // if not now, then with the next call
	}
}

// foreign returns what an error of a node means, if that is that it belongs to
// another cluster: where there are others, this is none of ours.
func (p *pool) foreign(n *node, err error) error {
	if !isWrongCluster(err) {
		return err
	}
	p.lost(n)
	n.isOther()
	for _, other := range p.candidates() {
		if other != n && !other.foreign() {
			return fmt.Errorf("%w: %s: %v", api.ErrUnavailable, n.addr, err)
		}
	}
	return err
}

// unreachable says of every address why nobody answers there; err is what the
// call was told.
func (p *pool) unreachable(ctx context.Context, err error) error {
	var all []string
	for _, n := range p.candidates() {
		all = append(all, fmt.Sprintf("%s: %v", n.addr, n.why(ctx, err)))
	}
	text := strings.Join(all, "; ")
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %s: %w", api.ErrUnavailable, text, ctx.Err())
	}
	return fmt.Errorf("%w: %s", api.ErrUnavailable, text)
}

// outgoing returns the context of a call: ctx with its metadata.
func (p *pool) outgoing(ctx context.Context, request string) context.Context {
	p.mu.Lock()
	cluster := p.cluster
	p.mu.Unlock()
	pairs := []string{rpc.MetadataRequest, request}
	if cluster != "" { // it is not known before Hello
		pairs = append(pairs, rpc.MetadataCluster, cluster)
	}
	if p.cfg.Forwarded {
		pairs = append(pairs, rpc.MetadataForwarded, "1")
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// newRequest returns the id of a call or stream.
func newRequest() string { return fmt.Sprintf("%016x", rand.Uint64()) }

func (p *pool) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// start runs f, unless the pool is closed; close waits for it.
func (p *pool) start(f func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return api.ErrClosed
	}
	p.wg.Go(f)
	return nil
}

// close ends all calls and streams, and waits for what was started.
func (p *pool) close() error {
	p.mu.Lock()
	var conns []*conn
	for _, n := range p.nodes {
		conns = append(conns, n.conns...)
		n.conns = nil
	}
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	var errs []error
	for _, c := range conns {
		errs = append(errs, c.Close())
	}
	p.wg.Wait()
	return errors.Join(errs...)
}

// dial makes a connection to a node.
func (p *pool) dial(ctx context.Context, addr string) (net.Conn, error) {
	if p.cfg.Forwarded {
		return rpc.DialPeer(ctx, p.cfg.Dialer, addr)
	}
	return p.cfg.Dialer(ctx, addr)
}
