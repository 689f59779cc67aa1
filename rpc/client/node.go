package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	adminv1 "github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

const (
	// connCallsMax is how many calls and streams a connection carries at a time.
	// It is below what a node allows, beyond which a call would wait for another
	// one to end: that of a follower never does.
	connCallsMax = 200
	// downMin is for how long a node that could not be reached is not thought of
	// as the writer of its logs; each further time it is twice as long, up to
	// downMax.
	downMin = 250 * time.Millisecond
	downMax = 5 * time.Second
	// uselessAfter is how often in a row a node may say that it can't do a thing
	// now until another one is tried: it may be cut off from the others.
	uselessAfter = 4
)

// node is what a client has of one node: its connections and what it knows of
// it. There is one connection, until more calls and streams are open than it
// carries; those that were added stay, and cost a few KB when they are idle.
type node struct {
	pool    *pool
	addr    string
	appends *appends

	// Guarded by pool.mu.
	conns   []*conn
	known   bool      // it was greeted since it was last lost
	self    string    // where it says that it serves
	failure error     // why it could not be dialled last
	refusal error     // what it said last, where that was no answer
	tried   bool      // to dial it
	down    time.Time // it is not thought of before
	pause   time.Duration
	other   bool // it is of another cluster
	useless int  // answers in a row that said "unavailable"
}

// conn is one connection, or what makes it again.
type conn struct {
	*grpc.ClientConn
	log   logv1.LogServiceClient
	admin adminv1.AdminServiceClient
	pool  *pool
	calls int // guarded by pool.mu
}

func newNode(p *pool, addr string) *node {
	n := &node{pool: p, addr: addr}
	n.appends = newAppends(n)
	return n
}

// acquire returns a connection for one call or stream; release must follow.
func (n *node) acquire() (*conn, error) {
	p := n.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, api.ErrClosed
	}
	for _, c := range n.conns {
		if c.calls < connCallsMax {
			c.calls++
			return c, nil
		}
	}
	cc, err := connect(n.addr, n.dial)
	if err != nil {
		return nil, fmt.Errorf("%w: make a connection: %w", api.ErrUnavailable, err)
	}
	c := &conn{ClientConn: cc, log: logv1.NewLogServiceClient(cc), admin: adminv1.NewAdminServiceClient(cc), pool: p, calls: 1}
	n.conns = append(n.conns, c)
	return c, nil
}

func (c *conn) release() {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	c.calls--
}

// dial makes a connection, and remembers why it could not.
func (n *node) dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := n.pool.dial(ctx, addr)
	n.pool.mu.Lock()
	defer n.pool.mu.Unlock()
	n.tried, n.failure = true, err
	return c, err
}

// ready says that the node was greeted, and is connected.
func (n *node) ready() bool {
	n.pool.mu.Lock()
	defer n.pool.mu.Unlock()
	return n.known && slices.ContainsFunc(n.conns, func(c *conn) bool { return c.GetState() == connectivity.Ready })
}

// greet asks the node who it is, unless that is known: it must be of the
// cluster.
func (n *node) greet(ctx context.Context) error {
	if n.ready() {
		return nil
	}
	reached, err := n.hello(ctx)
	if err != nil && !reached && errors.Is(err, api.ErrUnavailable) {
		return n.unreached(ctx, err)
	}
	return err
}

// unreached says why the node is not reached; err is what a call was told.
func (n *node) unreached(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %s: %v: %w", api.ErrUnavailable, n.addr, n.why(ctx, err), ctx.Err())
	}
	return fmt.Errorf("%w: %s: %v", api.ErrUnavailable, n.addr, n.why(ctx, err))
}

// visit greets the node, soon or not at all.
func (n *node) visit(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	err := n.greet(soon)
	if err == nil || ctx.Err() != nil || n.pool.isClosed() {
		return err
	}
	if soon.Err() != nil {
		err = n.unreached(ctx, errors.New("no answer"))
	}
	n.pool.lost(n)
	return err
}

// hello asks the node who it is.
func (n *node) hello(ctx context.Context) (reached bool, err error) {
	var hello *logv1.HelloResponse
	reached, err = n.once(ctx, harmless, func(ctx context.Context, c *conn, opts ...grpc.CallOption) (err error) {
		hello, err = c.log.Hello(ctx, &logv1.HelloRequest{}, opts...)
		return err
	})
	if err == nil && hello.GetClusterId() == "" {
		err = nonsense("it does not say what its cluster is")
	}
	if err == nil {
		err = n.pool.met(n, hello)
	}
	n.pool.mu.Lock()
	n.refusal = err
	n.pool.mu.Unlock()
	return reached, n.pool.foreign(n, err)
}

// greeted notes that the node is there, and of the cluster.
func (n *node) greeted(self string) {
	n.pool.mu.Lock()
	defer n.pool.mu.Unlock()
	n.known, n.self, n.down, n.pause, n.other = true, self, time.Time{}, 0, false
}

// failed notes that the node can't be reached, each time for longer.
func (n *node) failed() {
	n.pool.mu.Lock()
	defer n.pool.mu.Unlock()
	n.known = false
	if now := time.Now(); !now.Before(n.down) {
		n.pause = min(max(downMin, 2*n.pause), downMax)
		n.down = now.Add(n.pause)
	}
}

// says notes an answer of the node. One that is there, and can do nothing, is
// left for another one.
func (n *node) says(err error) {
	n.pool.mu.Lock()
	if n.useless++; !errors.Is(err, api.ErrUnavailable) {
		n.useless = 0
	}
	leave := n.useless >= uselessAfter
	if leave {
		n.useless = 0
	}
	n.pool.mu.Unlock()
	if leave {
		n.pool.lost(n)
	}
}

// isOther notes that the node is of another cluster.
func (n *node) isOther() {
	n.pool.mu.Lock()
	defer n.pool.mu.Unlock()
	n.known, n.other, n.down = false, true, time.Now().Add(foreignFor)
}

// foreign says that the node is of another cluster, as far as is known.
func (n *node) foreign() bool {
	n.pool.mu.Lock()
	defer n.pool.mu.Unlock()
	return n.other
}

// shed closes connections that are neither used nor made: they would only try
// to be made, again and again.
func (n *node) shed() {
	n.pool.mu.Lock()
	var kept, shed []*conn
	for _, c := range n.conns {
		if c.calls == 0 && c.GetState() != connectivity.Ready {
			shed = append(shed, c)
		} else {
			kept = append(kept, c)
		}
	}
	n.conns = kept
	n.pool.mu.Unlock()
	for _, c := range shed {
		_ = c.Close() // nobody hears of it
	}
}

// downUntil is when the node is thought of again; zero: it is.
func (n *node) downUntil() time.Time {
	n.pool.mu.Lock()
	defer n.pool.mu.Unlock()
	return n.down
}

// isDown says that nothing is sent to the node only because of a hint.
func (n *node) isDown() bool { return time.Now().Before(n.downUntil()) }

// isAt says that the node serves at an address.
func (n *node) isAt(addr string) bool {
	n.pool.mu.Lock()
	defer n.pool.mu.Unlock()
	return addr == n.addr || addr == n.self
}

// why says why nobody answers at the node's address; err is what a call was
// told.
func (n *node) why(ctx context.Context, err error) error {
	n.pool.mu.Lock()
	defer n.pool.mu.Unlock()
	why := n.failure
	if op, ok := errors.AsType[*net.OpError](why); ok {
		why = op.Err // the rest of it names the address again
	}
	switch {
	case why != nil:
		return why
	case !n.tried:
		return errors.New("not tried yet")
	case n.refusal != nil:
		err = n.refusal
	case ctx.Err() != nil:
		return errors.New("takes the connection, but does not answer")
	}
	return fmt.Errorf("takes the connection, but: %w", err)
}
