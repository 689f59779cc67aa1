package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/wpd-io/wpd/rpc"
	adminv1 "github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// connCallsMax is how many calls and streams a connection carries at a time.
// It is below what a node allows, beyond which a call would wait for another
// one to end: that of a follower never does.
const connCallsMax = 200

// pool is a client's connections to one cluster. There is one, until more
// calls and streams are open than it carries; those that were added stay, and
// cost a few KB when they are idle. Safe for concurrent use.
type pool struct {
	cfg     Config
	cluster string         // UUID; set before anybody else has the pool
	wg      sync.WaitGroup // of all goroutines of the client
	ctx     context.Context
	cancel  context.CancelFunc

	mu       sync.Mutex // guards what follows
	conns    []*conn
	closed   bool
	failures map[string]error // by address, why it could not be dialled last
}

// conn is one connection, or what makes it again.
type conn struct {
	*grpc.ClientConn
	log   logv1.LogServiceClient
	admin adminv1.AdminServiceClient
	calls int // guarded by pool.mu
}

func newPool(c Config) (*pool, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	p := &pool{cfg: c, failures: make(map[string]error)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p, nil
}

// acquire returns a connection for one call or stream; release must follow.
func (p *pool) acquire() (*conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, api.ErrClosed
	}
	for _, c := range p.conns {
		if c.calls < connCallsMax {
			c.calls++
			return c, nil
		}
	}
	cc, err := grpc.NewClient(scheme+":///", p.cfg.options(p.dial)...)
	if err != nil {
		return nil, fmt.Errorf("%w: make a connection: %w", api.ErrUnavailable, err)
	}
	c := &conn{ClientConn: cc, log: logv1.NewLogServiceClient(cc), admin: adminv1.NewAdminServiceClient(cc), calls: 1}
	p.conns = append(p.conns, c)
	return c, nil
}

func (p *pool) release(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.calls--
}

// dial makes a connection, and remembers why it could not.
func (p *pool) dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := p.cfg.Dialer(ctx, addr)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures[addr] = err
	return c, err
}

// unreachable says of every address why nobody answers there; err is what the
// call was told.
func (p *pool) unreachable(ctx context.Context, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, addr := range p.cfg.Addrs {
		why, tried := p.failures[addr]
		if op, ok := errors.AsType[*net.OpError](why); ok {
			why = op.Err // the rest of it names the address again
		}
		switch {
		case !tried:
			why = errors.New("not tried yet")
		case why == nil && ctx.Err() != nil:
			why = errors.New("takes the connection, but does not answer")
		case why == nil:
			why = fmt.Errorf("takes the connection, but: %w", err)
		}
		all = append(all, fmt.Sprintf("%s: %v", addr, why))
	}
	text := strings.Join(all, "; ")
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %s: %w", api.ErrUnavailable, text, ctx.Err())
	}
	return fmt.Errorf("%w: %s", api.ErrUnavailable, text)
}

// outgoing returns the context of a call: ctx with its metadata.
func (p *pool) outgoing(ctx context.Context, request string) context.Context {
	if p.cluster == "" { // it is not known before Hello
		return metadata.AppendToOutgoingContext(ctx, rpc.MetadataRequest, request)
	}
	return metadata.AppendToOutgoingContext(ctx, rpc.MetadataCluster, p.cluster, rpc.MetadataRequest, request)
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
	conns := p.conns
	p.closed, p.conns = true, nil
	p.mu.Unlock()
	p.cancel()
	var errs []error
	for _, c := range conns {
		errs = append(errs, c.Close())
	}
	p.wg.Wait()
	return errors.Join(errs...)
}
