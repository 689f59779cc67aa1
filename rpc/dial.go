package rpc

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// Dialer makes a connection to a node at host:port.
type Dialer = func(ctx context.Context, addr string) (net.Conn, error)

// DialTCP is a Dialer.
func DialTCP(ctx context.Context, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

// DialPeer makes a connection by a dialer, and says on it that it is one of a
// node.
func DialPeer(ctx context.Context, dial Dialer, addr string) (net.Conn, error) {
	c, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	if err := BeginPeer(ctx, c); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Tries are those to make a connection.
type Tries struct {
	// PauseMin is the pause after the first one. Each is longer than the last, up
	// to PauseMax.
	PauseMin, PauseMax time.Duration
	// Timeout bounds one of them.
	Timeout time.Duration
}

// Connect makes a gRPC connection to a node, which connects when it is used.
// There is no TLS yet.
func Connect(addr string, dial Dialer, t Tries, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addr, append([]grpc.DialOption{
		grpc.WithAuthority(addr),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dial),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: t.PauseMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: t.PauseMax},
			MinConnectTimeout: t.Timeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: ClientPingEvery, Timeout: ClientPingTimeout}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(Codec{})),
		grpc.WithMaxHeaderListSize(HeaderBytesMax),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
	}, opts...)...)
}
