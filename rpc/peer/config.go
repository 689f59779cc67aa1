package peer

import (
	"context"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"

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
		c.Dialer = rpc.DialTCP
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// dial makes a connection, and says on it that it is one of a node.
func (c *Config) dial(ctx context.Context, addr string) (net.Conn, error) {
	return rpc.DialPeer(ctx, c.Dialer, addr)
}

// connect makes a gRPC connection, which connects when it is used.
func (c *Config) connect(addr string) (*grpc.ClientConn, error) {
	return rpc.Connect(addr, c.dial, rpc.Tries{PauseMin: connectBackoffMin, PauseMax: connectBackoffMax, Timeout: connectTimeout},
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(rpc.FeedBytesMax+messageHeadBytes),
			grpc.MaxCallSendMsgSize(rpc.MessageBytesMax),
		),
		grpc.WithStaticStreamWindowSize(feedWindowBytes),
		grpc.WithStaticConnWindowSize(connWindowBytes),
	)
}
