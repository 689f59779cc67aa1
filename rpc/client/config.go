package client

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"google.golang.org/grpc"

	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/wal/api"
)

const (
	// connectBackoffMin and connectBackoffMax bound the pause before a
	// connection is tried again: a node that comes back is noticed soon, one
	// that is gone for long costs little.
	connectBackoffMin = 50 * time.Millisecond
	connectBackoffMax = 2 * time.Second
	// connectTimeout bounds one try: a peer that takes the connection and says
	// nothing is none.
	connectTimeout = 5 * time.Second
	// streamWindowBytes is what a node may send of a read before it is taken:
	// what a reader that does not read holds at most, beside two chunks. At a
	// round trip of 1 ms it allows 1 GB/s. gRPC would let it grow to 16 MiB.
	streamWindowBytes = 1 << 20
	// connWindowBytes is that of a connection, for streams that are read; those
	// that are not do not hold it back.
	connWindowBytes = 16 << 20
)

// Config says whom to dial. Only Addrs is required.
type Config struct {
	// Addrs are the addresses of some of the nodes, host:port each. The first
	// that answers is used, in this order.
	Addrs []string
	// Cluster is the UUID of the cluster that is meant; empty: that of the node
	// that answers first.
	Cluster string
	// Forwarded makes it the client of a node that passes calls of its own
	// clients on to another node. That one does not pass them on again. The
	// client keeps to Addrs, does nothing twice, and leaves it to its caller to
	// follow an *api.ElsewhereError.
	Forwarded bool
	// Dialer makes a connection to one of the nodes; nil: TCP.
	Dialer func(ctx context.Context, addr string) (net.Conn, error)
	// Logger hears of broken connections, and at level debug of every batch;
	// nil: silent.
	Logger *slog.Logger
}

func (c *Config) validate() error {
	if len(c.Addrs) == 0 {
		return fmt.Errorf("%w: no address to dial; want host:port", api.ErrInvalid)
	}
	for _, addr := range c.Addrs {
		if !isAddr(addr) {
			return fmt.Errorf("%w: address %q: want host:port, for example 127.0.0.1:7070", api.ErrInvalid, addr)
		}
	}
	if c.Dialer == nil {
		c.Dialer = rpc.DialTCP
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// addrBytesMax is more than the address of a host has.
const addrBytesMax = 300

func isAddr(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	return err == nil && len(addr) <= addrBytesMax
}

// connect makes a connection to a node, which connects when it is used.
func connect(addr string, dial rpc.Dialer) (*grpc.ClientConn, error) {
	return rpc.Connect(addr, dial, rpc.Tries{PauseMin: connectBackoffMin, PauseMax: connectBackoffMax, Timeout: connectTimeout},
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(rpc.MessageBytesMax)),
		grpc.WithStaticStreamWindowSize(streamWindowBytes),
		grpc.WithStaticConnWindowSize(connWindowBytes),
	)
}
