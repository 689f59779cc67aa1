package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	gossipPacketMax  = 64 << 10 // the largest that UDP has
	gossipStreamsMax = 64       // connections of others at once; further ones are closed
	gossipPortTries  = 10       // for a port that is free for TCP and for UDP
)

// gossipNet is memberlist's way to others. It implements
// memberlist.Transport.
type gossipNet struct {
	network   Network
	advertise string
	listener  net.Listener
	packets   net.PacketConn

	ctx      context.Context // ends with Shutdown
	cancel   context.CancelFunc
	packetCh chan *memberlist.Packet
	streamCh chan net.Conn
	slots    chan struct{} // of streams that others have made
	running  sync.WaitGroup
}

var _ memberlist.Transport = (*gossipNet)(nil)

// openGossipNet listens at one port for both, and starts to.
func openGossipNet(network Network, listen, advertise string) (*gossipNet, error) {
	g := &gossipNet{
		network: network, packetCh: make(chan *memberlist.Packet), streamCh: make(chan net.Conn),
		slots: make(chan struct{}, gossipStreamsMax),
	}
	if err := g.listen(listen); err != nil {
		return nil, err
	}
	var err error
	if g.advertise, err = advertised(advertise, g.listener.Addr()); err != nil {
		return nil, errors.Join(err, g.listener.Close(), g.packets.Close())
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.running.Go(g.takeStreams)
	g.running.Go(g.takePackets)
	return g, nil
}

func (g *gossipNet) listen(addr string) (err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		if g.listener, err = g.network.Listen(addr); err != nil {
			return err
		}
		_, got, err := net.SplitHostPort(g.listener.Addr().String())
		if err == nil {
			g.packets, err = g.network.ListenPacket(net.JoinHostPort(host, got))
		}
		if err == nil {
			return nil
		}
		err = errors.Join(err, g.listener.Close())
		if port != "0" || try == gossipPortTries {
			return err
		}
	}
}

// advertised returns what others are told to dial.
func advertised(configured string, listener net.Addr) (string, error) {
	addr := configured
	if addr == "" {
		addr = listener.String()
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return "", fmt.Errorf("%s is no address that others could dial: say which one to advertise", addr)
	}
	if len(addr) > metaAddressMax {
		return "", fmt.Errorf("address %.40s… has %d bytes, the limit is %d", addr, len(addr), metaAddressMax)
	}
	return addr, nil
}

// lookup returns the IP addresses of a host:port.
func lookup(ctx context.Context, network Network, addr string) (ips []net.IP, port int, err error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, 0, err
	}
	if port, err = strconv.Atoi(portText); err != nil {
		return nil, 0, fmt.Errorf("address %s: the port is not a number", addr)
	}
	if ip := net.ParseIP(host); ip != nil {
		return []net.IP{ip}, port, nil
	}
	r, ok := network.(Resolver)
	if !ok {
		r = osNetwork{}
	}
	names, err := r.LookupHost(ctx, host)
	if err != nil {
		return nil, 0, err
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			ips = append(ips, ip)
		}
	}
	if len(ips) == 0 {
		return nil, 0, fmt.Errorf("host %s has no address", host)
	}
	return ips, port, nil
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (g *gossipNet) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	ctx, cancel := context.WithTimeout(g.ctx, lookupTimeout)
	defer cancel()
	ips, port, err := lookup(ctx, g.network, g.advertise)
	if err != nil {
		return nil, 0, err
	}
	if ip4 := ips[0].To4(); ip4 != nil {
		return ip4, port, nil
	}
	return ips[0], port, nil
}

// WriteTo implements memberlist.Transport.
func (g *gossipNet) WriteTo(b []byte, addr string) (time.Time, error) {
	ips, port, err := lookup(g.ctx, g.network, addr)
	if err != nil {
		return time.Time{}, err
	}
	_, err = g.packets.WriteTo(b, &net.UDPAddr{IP: ips[0], Port: port})
	return time.Now(), err
}

// PacketCh implements memberlist.Transport.
func (g *gossipNet) PacketCh() <-chan *memberlist.Packet { return g.packetCh }

// DialTimeout implements memberlist.Transport.
func (g *gossipNet) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(g.ctx, timeout)
	defer cancel()
	return g.network.Dial(ctx, addr)
}

// StreamCh implements memberlist.Transport.
func (g *gossipNet) StreamCh() <-chan net.Conn { return g.streamCh }

// Shutdown implements memberlist.Transport.
func (g *gossipNet) Shutdown() error {
	g.cancel()
	err := errors.Join(g.listener.Close(), g.packets.Close())
	g.running.Wait()
	return err
}

func (g *gossipNet) takeStreams() {
	for {
		c, err := g.listener.Accept()
		if err != nil {
			if !g.pause() {
				return
			}
			continue
		}
		select {
		case g.slots <- struct{}{}:
		default:
			_ = c.Close()
			continue
		}
		select {
		case g.streamCh <- &slotConn{Conn: c, slots: g.slots}:
		case <-g.ctx.Done():
			_ = c.Close()
		}
	}
}

func (g *gossipNet) takePackets() {
	buf := make([]byte, gossipPacketMax)
	for {
		n, from, err := g.packets.ReadFrom(buf)
		if err != nil {
			if !g.pause() {
				return
			}
			continue
		}
		if n == 0 {
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: time.Now()}
		select {
		case g.packetCh <- p:
		case <-g.ctx.Done():
		}
	}
}

// pause waits a moment after an error of a listener, false if it is closed.
func (g *gossipNet) pause() bool {
	select {
	case <-time.After(10 * time.Millisecond):
		return true
	case <-g.ctx.Done():
		return false
	}
}

// slotConn gives its slot back when it is closed.
type slotConn struct {
	net.Conn
	slots chan struct{}
	once  sync.Once
}

// Close implements net.Conn.
func (c *slotConn) Close() error {
	c.once.Do(func() { <-c.slots })
	return c.Conn.Close()
}
