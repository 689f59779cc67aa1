package cluster

import (
	"context"
	"net"
)

// Network is where a member listens and whom it reaches; addresses are
// host:port, and port 0 in Listen and ListenPacket means any. A Network whose
// hosts have names that the operating system does not know implements Resolver,
// too.
type Network interface {
	Listen(addr string) (net.Listener, error)
	Dial(ctx context.Context, addr string) (net.Conn, error)
	// ListenPacket is for packets up to 1,400 bytes that may get lost.
	ListenPacket(addr string) (net.PacketConn, error)
}

// Resolver finds the IP addresses of a host; the first one counts.
type Resolver interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// osNetwork is that of the operating system.
type osNetwork struct{}

var (
	_ Network  = osNetwork{}
	_ Resolver = osNetwork{}
)

func (osNetwork) Listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }

func (osNetwork) Dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

func (osNetwork) ListenPacket(addr string) (net.PacketConn, error) {
	return net.ListenPacket("udp", addr)
}

func (osNetwork) LookupHost(ctx context.Context, host string) ([]string, error) {
	return net.DefaultResolver.LookupHost(ctx, host)
}
