package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wpd-io/wpd/rpc/client"
	"github.com/wpd-io/wpd/wal/api"
)

// remotes are the connections to other nodes, for the calls of clients that are
// forwarded to them: one for each, made when it is needed.
type remotes struct {
	n *Node

	mu     sync.Mutex
	all    map[string]*remote // by address; guarded by mu
	closed bool
	wg     sync.WaitGroup // of connections that are being ended
}

// dialPatience bounds the making of a connection to another node.
const dialPatience = 5 * time.Second

// remote is the connection to one node.
type remote struct {
	done    chan struct{} // closed once service or err is set
	service *client.Service
	err     error
}

func (r *remotes) init(n *Node) { r.n, r.all = n, make(map[string]*remote) }

// at returns the log service of the node at an address.
func (r *remotes) at(ctx context.Context, addr string) (api.Service, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, api.ErrClosed
	}
	x := r.all[addr]
	if x == nil {
		x = &remote{done: make(chan struct{})}
		r.all[addr] = x
		r.wg.Go(func() { r.dial(x, addr) })
	}
	r.mu.Unlock()
	select {
	case <-x.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: connect to the node at %s: %w", api.ErrUnavailable, addr, ctx.Err())
	}
	if x.err != nil {
		return nil, fmt.Errorf("%w: connect to the node at %s: %w", api.ErrUnavailable, addr, x.err)
	}
	return x.service, nil
}

// connected returns the log service of a node that there is a connection to; nil:
// there is none yet.
func (r *remotes) connected(addr string) api.Service {
	r.mu.Lock()
	x := r.all[addr]
	r.mu.Unlock()
	if x == nil {
		return nil
	}
	select {
	case <-x.done:
	default:
		return nil
	}
	if x.err != nil {
		return nil
	}
	return x.service
}

// dial makes a connection; one that can't be made is forgotten, so that the
// next call tries again.
func (r *remotes) dial(x *remote, addr string) {
	defer close(x.done)
	ctx, cancel := context.WithTimeout(r.n.closing, dialPatience)
	defer cancel()
	x.service, x.err = client.Dial(ctx, client.Config{
		Addrs: []string{addr}, Forwarded: true, Dialer: r.n.cfg.Cluster.dialer(), Logger: r.n.cfg.Logger,
	})
	if x.err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.all[addr] == x {
			delete(r.all, addr)
		}
	}
}

// drop ends the connection to a node; what is under way on it is answered.
func (r *remotes) drop(addr string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.all[addr]
	if x == nil || r.closed {
		return
	}
	delete(r.all, addr)
	r.wg.Go(func() { _ = x.close() })
}

func (x *remote) close() error {
	<-x.done
	if x.service == nil {
		return nil
	}
	return x.service.Close()
}

// close ends all of them.
func (r *remotes) close(context.Context) error {
	r.mu.Lock()
	r.closed = true
	all := r.all
	r.all = nil
	r.mu.Unlock()
	var errs []error
	for _, x := range all {
		errs = append(errs, x.close())
	}
	r.wg.Wait()
	return errors.Join(errs...)
}
