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
	// Addrs are the addresses of the nodes, host:port each. The first that
	// answers is used, in this order.
	Addrs []string
	// Dialer makes a connection to one of Addrs; nil: TCP.
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
		_, port, err := net.SplitHostPort(addr)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
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

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

// options are those of every connection. There is no TLS yet.
func (c *Config) options(dial func(ctx context.Context, addr string) (net.Conn, error)) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithResolvers(addresses(c.Addrs)),
		grpc.WithAuthority(c.Addrs[0]),
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
	}
}
