package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
)

// InsecureError: a listener would be open to others than this machine's own
// programs. Nothing was opened.
type InsecureError struct {
	Listener string // "grpc", "http", "raft" or "gossip"
	Addr     string
}

func (e *InsecureError) Error() string {
	return fmt.Sprintf("%s listener on %s: there is no TLS yet, so whoever can reach that address could read and write everything", e.Listener, e.Addr)
}

// The names of the listeners, in status, logs and errors.
const (
	grpcListener   = "grpc"
	httpListener   = "http"
	raftListener   = "raft"
	gossipListener = "gossip"
)

// listen takes an address, and serves nobody there yet. Its errors wrap those
// of the system (syscall.EADDRINUSE).
func (c *Config) listen(name, addr string) (net.Listener, error) {
	tcp, err := c.checkListen(name, addr)
	if err != nil {
		return nil, err
	}
	l, err := net.ListenTCP("tcp", tcp)
	if err != nil {
		return nil, fmt.Errorf("%s listener: %w", name, err)
	}
	return l, nil
}

// checkListen says where a listener would be, and refuses what is open to others
// without need.
func (c *Config) checkListen(name, addr string) (*net.TCPAddr, error) {
	// Resolved first, so that not a single connection is made to what others
	// could reach.
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s listener: %w", name, err)
	}
	if !tcp.IP.IsLoopback() {
		if !c.Insecure {
			return nil, &InsecureError{Listener: name, Addr: addr}
		}
		c.Logger.Warn("no TLS yet: whoever can reach this address can read and write everything", "listener", name, "addr", tcp.String())
	}
	return tcp, nil
}

// takeAddresses takes the addresses that the node is to serve, before anything
// else is touched: one that is in use costs nothing then. Whoever comes before
// an address is served waits.
func (n *Node) takeAddresses() (err error) {
	for _, x := range []struct {
		name, addr string
		listener   *net.Listener
	}{{grpcListener, n.cfg.Listen, &n.grpcListener}, {httpListener, n.cfg.HTTPListen, &n.httpListener}} {
		l := n.cfg.Listener
		if x.name != grpcListener || l == nil {
			if x.addr == "" {
				continue
			}
			if l, err = n.cfg.listen(x.name, x.addr); err != nil {
				return err
			}
		}
		*x.listener = l
		n.closers = append(n.closers, func(context.Context) error {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil // whoever served it has closed it
		})
	}
	return nil
}

// Addr is where the node serves gRPC; nil if nowhere.
func (n *Node) Addr() net.Addr { return addrOf(n.grpcListener) }

// HTTPAddr is where the node serves HTTP; nil if nowhere.
func (n *Node) HTTPAddr() net.Addr { return addrOf(n.httpListener) }

func addrOf(l net.Listener) net.Addr {
	if l == nil {
		return nil
	}
	return l.Addr()
}

// serve runs a server until it ends. One that ends by itself takes the node
// with it: nobody could reach it any more.
func (n *Node) serve(name string, run func() error) {
	n.wg.Go(func() {
		err := run()
		if n.isDraining() {
			return
		}
		n.cfg.Logger.Error("a listener has ended", slog.String("listener", name), slog.Any("err", err))
		if logs, closed := n.here(n.draining); closed == nil {
			logs.Fail(fmt.Errorf("%s listener: %w", name, err))
		}
	})
}
