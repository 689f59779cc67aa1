package peer

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/wpd-io/wpd/rpc"
	peerv1 "github.com/wpd-io/wpd/rpc/wpdpb/peerv1"
)

// Client asks other nodes. Safe for concurrent use.
type Client struct {
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc

	mu       sync.Mutex // guards what follows
	cluster  string
	identity string
	nodes    map[string]*node // by address
	conns    map[*conn]struct{}
	clock    uint64 // counts uses of nodes
	closed   bool
}

// node is the connections to one node.
type node struct {
	calls *conn   // nil: there is none
	feeds []*conn // none of them is retired
	used  uint64
}

// conn is one connection, or what makes it again.
type conn struct {
	*grpc.ClientConn
	rpc peerv1.PeerServiceClient
	// room is for calls that are no renewals.
	room chan struct{}

	// Guarded by Client.mu.
	open     int    // calls and feeds
	answered uint64 // calls that were answered
	retired  bool   // no call begins on it; it is closed with its last one
}

// New makes a client, which has no connection yet. Nobody is asked before
// Introduce.
func New(c Config) *Client {
	c.fill()
	x := &Client{cfg: c, nodes: make(map[string]*node), conns: make(map[*conn]struct{})}
	x.ctx, x.cancel = context.WithCancelCause(context.Background())
	return x
}

// Introduce says who calls from now on: the UUID of the cluster, and the
// identity of this node.
func (c *Client) Introduce(cluster, identity string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cluster, c.identity = cluster, identity
}

// Close ends all calls and feeds, which are a *BrokenError then. Idempotent.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	conns := c.conns
	c.conns, c.nodes = nil, nil
	c.mu.Unlock()
	c.cancel(errClosed)
	var errs []error
	for x := range conns {
		errs = append(errs, x.Close())
	}
	return errors.Join(errs...)
}

var errNoIdentity = errors.New("nobody has said who this node is")

// outgoing is the context of a call: ctx with who makes it.
func (c *Client) outgoing(ctx context.Context) (context.Context, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.identity == "" {
		return nil, errNoIdentity
	}
	return metadata.AppendToOutgoingContext(ctx, rpc.MetadataCluster, c.cluster, rpc.MetadataNode, c.identity), nil
}

// acquire returns a connection to a node, for a call or for a feed; release
// must follow. before is how many calls it had answered.
func (c *Client) acquire(addr string, feed bool) (x *conn, before uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, 0, errClosed
	}
	n := c.nodeLocked(addr)
	if feed {
		for _, y := range n.feeds {
			if y.open < feedsMax {
				x = y
				break
			}
		}
	} else {
		x = n.calls
	}
	if x == nil {
		if x, err = c.connectLocked(addr); err != nil {
			return nil, 0, err
		}
		if feed {
			n.feeds = append(n.feeds, x)
		} else {
			n.calls = x
		}
	}
	x.open++
	return x, x.answered, nil
}

func (c *Client) nodeLocked(addr string) *node {
	n := c.nodes[addr]
	if n == nil {
		c.forgetLocked()
		n = &node{}
		c.nodes[addr] = n
	}
	c.clock++
	n.used = c.clock
	return n
}

// forgetLocked makes room for one more node.
func (c *Client) forgetLocked() {
	if len(c.nodes) < nodesMax {
		return
	}
	var oldest string
	for addr, n := range c.nodes {
		if oldest == "" || n.used < c.nodes[oldest].used {
			oldest = addr
		}
	}
	n := c.nodes[oldest]
	delete(c.nodes, oldest)
	for _, x := range append(n.feeds, n.calls) {
		if x != nil {
			c.retireLocked(x)
		}
	}
}

func (c *Client) connectLocked(addr string) (*conn, error) {
	cc, err := c.cfg.connect(addr)
	if err != nil {
		return nil, err
	}
	x := &conn{ClientConn: cc, rpc: peerv1.NewPeerServiceClient(cc), room: make(chan struct{}, callsMax)}
	c.conns[x] = struct{}{}
	return x, nil
}

// release gives a connection back. With answered, the other node is alive.
func (c *Client) release(x *conn, answered bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x.open--
	if answered {
		x.answered++
	}
	if x.retired {
		c.retireLocked(x)
	}
}

// retireLocked closes a connection once nothing is on it.
func (c *Client) retireLocked(x *conn) {
	x.retired = true
	if _, ok := c.conns[x]; ok && x.open == 0 {
		delete(c.conns, x)
		_ = x.Close() // nobody uses it
	}
}

// silent retires the connection of a call that got no answer in its time,
// unless another one did meanwhile: if it is the network that swallows
// everything, gRPC needs long to find out. Of an idle feed, that nothing comes
// means nothing.
func (c *Client) silent(addr string, x *conn, before uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[addr]
	if n == nil || n.calls != x || x.answered != before {
		return
	}
	n.calls = nil
	c.retireLocked(x)
	c.cfg.Logger.Info("gave up a connection to a node: a call got no answer in its time", "addr", addr)
}
