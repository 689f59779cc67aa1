package peer

import (
	"context"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/wpd-io/wpd/rpc"
)

const (
	// CallTimeout bounds a call whose ctx has no end. It outlasts a slow disk
	// under raft, and no election.
	CallTimeout = 10 * time.Second

	// connectBackoffMin and connectBackoffMax bound the pause before a
	// connection is tried again: of a lease of three seconds, little may be lost
	// by it.
	connectBackoffMin = 50 * time.Millisecond
	connectBackoffMax = 500 * time.Millisecond
	// connectTimeout bounds one try.
	connectTimeout = 2 * time.Second

	// callsMax bounds the calls at a time of one connection that are no
	// renewals. The rest of rpc.StreamsMax is kept for those.
	callsMax = 192
	// feedsMax bounds the feeds of one connection.
	feedsMax = 192
	// nodesMax bounds the nodes that connections are kept to, most of which have
	// left the cluster long ago.
	nodesMax = 256

	// feedWindowBytes is what a node may send of a feed before it is taken, and
	// connWindowBytes that of all feeds of a connection.
	feedWindowBytes = 2 << 20
	connWindowBytes = 16 << 20
	// messageHeadBytes is more than what a feed's message has around its bytes.
	messageHeadBytes = 64
)

// Config is what a Client works with. The zero value is fine.
type Config struct {
	// Dialer makes a connection; nil: TCP.
	Dialer func(ctx context.Context, addr string) (net.Conn, error)
	// Logger hears of connections that are given up; nil: silent.
	Logger *slog.Logger
}

func (c *Config) fill() {
	if c.Dialer == nil {
		c.Dialer = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// dial makes a connection, and says on it that it is one of a node.
func (c *Config) dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := c.Dialer(ctx, addr)
	if err != nil {
		return nil, err
	}
	if err := rpc.BeginPeer(ctx, conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// connect makes a gRPC connection, which connects when it is used.
func (c *Config) connect(addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addr,
		grpc.WithAuthority(addr),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(c.dial),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: connectBackoffMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: connectBackoffMax},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: rpc.ClientPingEvery, Timeout: rpc.ClientPingTimeout}),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(rpc.Codec{}),
			grpc.MaxCallRecvMsgSize(rpc.FeedBytesMax+messageHeadBytes),
			grpc.MaxCallSendMsgSize(rpc.MessageBytesMax),
		),
		grpc.WithMaxHeaderListSize(rpc.HeaderBytesMax),
		grpc.WithStaticStreamWindowSize(feedWindowBytes),
		grpc.WithStaticConnWindowSize(connWindowBytes),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
	)
}
