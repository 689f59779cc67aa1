package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// memNet is a network in memory, for bubbles. Hosts are IP addresses; each can
// be cut from each other, which breaks what there is between them.
type memNet struct {
	mu        sync.Mutex
	listeners map[string]*memListener
	packets   map[string]*memPackets
	conns     map[*memConn]struct{}
	cuts      map[[2]string]bool // by host; both ways
	ports     int
}

func newMemNet() *memNet {
	return &memNet{
		listeners: map[string]*memListener{}, packets: map[string]*memPackets{},
		conns: map[*memConn]struct{}{}, cuts: map[[2]string]bool{}, ports: 40000,
	}
}

// cut cuts two hosts from each other, or joins them again.
func (n *memNet) cut(a, b string, off bool) {
	n.mu.Lock()
	var broken []*memConn
	for _, k := range [][2]string{{a, b}, {b, a}} {
		n.cuts[k] = off
		for c := range n.conns {
			if off && c.route == k {
				broken = append(broken, c)
			}
		}
	}
	n.mu.Unlock()
	for _, c := range broken {
		_ = c.Close()
	}
}

func (n *memNet) isCut(a, b string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cuts[[2]string{a, b}]
}

// host returns the network as a host sees it.
func (n *memNet) host(ip string) memHost { return memHost{n, ip} }

type memHost struct {
	net *memNet
	ip  string
}

type memAddr string

func (memAddr) Network() string  { return "mem" }
func (a memAddr) String() string { return string(a) }

func (h memHost) port(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic(err)
	}
	if port == "0" {
		h.net.ports++
		port = fmt.Sprint(h.net.ports)
	}
	if host == "" {
		host = h.ip
	}
	return net.JoinHostPort(host, port)
}

func (h memHost) Listen(addr string) (net.Listener, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	addr = h.port(addr)
	if h.net.listeners[addr] != nil {
		return nil, syscall.EADDRINUSE
	}
	l := &memListener{net: h.net, addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
	h.net.listeners[addr] = l
	return l, nil
}

func (h memHost) Dial(ctx context.Context, addr string) (net.Conn, error) {
	to, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	h.net.mu.Lock()
	l := h.net.listeners[addr]
	if h.net.cuts[[2]string{h.ip, to}] {
		l = nil
	}
	h.net.mu.Unlock()
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	near, far := net.Pipe()
	c := &memConn{Conn: near, net: h.net, route: [2]string{h.ip, to}}
	select {
	case l.conns <- far:
	case <-l.closed:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.net.conns[c] = struct{}{}
	return c, nil
}

// memConn is the end of who dialled; closing it breaks both.
type memConn struct {
	net.Conn
	net   *memNet
	route [2]string
}

func (c *memConn) Close() error {
	c.net.mu.Lock()
	delete(c.net.conns, c)
	c.net.mu.Unlock()
	return c.Conn.Close()
}

type memListener struct {
	net    *memNet
	addr   string
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		delete(l.net.listeners, l.addr)
		l.net.mu.Unlock()
		close(l.closed)
	})
	return nil
}

func (l *memListener) Addr() net.Addr { return memAddr(l.addr) }

type memPackets struct {
	host   memHost
	addr   *net.UDPAddr
	in     chan memPacket
	closed chan struct{}
	once   sync.Once
}

type memPacket struct {
	b    []byte
	from net.Addr
}

func (h memHost) ListenPacket(addr string) (net.PacketConn, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	a, err := net.ResolveUDPAddr("udp", h.port(addr))
	if err != nil {
		return nil, err
	}
	p := &memPackets{host: h, addr: a, in: make(chan memPacket, 1024), closed: make(chan struct{})}
	h.net.packets[a.String()] = p
	return p, nil
}

func (p *memPackets) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case x := <-p.in:
		return copy(b, x.b), x.from, nil
	case <-p.closed:
		return 0, nil, net.ErrClosed
	}
}

func (p *memPackets) WriteTo(b []byte, to net.Addr) (int, error) {
	n := p.host.net
	host, _, _ := net.SplitHostPort(to.String())
	n.mu.Lock()
	there := n.packets[to.String()]
	if n.cuts[[2]string{p.host.ip, host}] {
		there = nil
	}
	n.mu.Unlock()
	if there != nil {
		select {
		case there.in <- memPacket{append([]byte(nil), b...), p.addr}:
		default:
		}
	}
	return len(b), nil
}

func (p *memPackets) Close() error {
	p.once.Do(func() {
		p.host.net.mu.Lock()
		delete(p.host.net.packets, p.addr.String())
		p.host.net.mu.Unlock()
		close(p.closed)
	})
	return nil
}

func (p *memPackets) LocalAddr() net.Addr              { return p.addr }
func (p *memPackets) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (p *memPackets) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (p *memPackets) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

var errUnplugged = errors.New("unplugged")
