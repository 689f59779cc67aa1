package client

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

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
		c.Dialer = dialTCP
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

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

// connect makes a connection to a node, which connects when it is used. There
// is no TLS yet.
func connect(addr string, dial func(ctx context.Context, addr string) (net.Conn, error)) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addr,
		grpc.WithAuthority(addr),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dial),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: connectBackoffMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: connectBackoffMax},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: rpc.ClientPingEvery, Timeout: rpc.ClientPingTimeout}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rpc.Codec{}), grpc.MaxCallRecvMsgSize(rpc.MessageBytesMax)),
		grpc.WithMaxHeaderListSize(rpc.HeaderBytesMax),
		grpc.WithStaticStreamWindowSize(streamWindowBytes),
		grpc.WithStaticConnWindowSize(connWindowBytes),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
	)
}
