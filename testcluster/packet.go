package testcluster

import (
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// packetBytesMax is the most that a packet holds, as with UDP.
	packetBytesMax = 65507
	// packetsMax is how many packets wait to be read; further ones are lost.
	packetsMax = 1024
	// reorderMin is how long a packet that is to be overtaken is held up at
	// least.
	reorderMin = 5 * time.Millisecond
)

// packet is one on its way.
type packet struct {
	data []byte
	from address
	link *link
	at   time.Time
}

// packetConn implements net.PacketConn.
type packetConn struct {
	host *Host
	addr address

	mu     sync.Mutex // guards what follows; taken before that of a link
	cond   *sync.Cond
	queue  []packet // by arrival
	readBy time.Time
	err    error // why it is over
}

// ListenPacket takes an address of the host for packets; port 0 takes a free
// one. Errors: syscall.EADDRINUSE, syscall.EADDRNOTAVAIL.
func (h *Host) ListenPacket(addr string) (net.PacketConn, error) {
	port, err := h.own("udp", addr)
	if err != nil {
		return nil, err
	}
	s := h.net
	s.mu.Lock()
	defer s.mu.Unlock()
	if port == 0 {
		port = h.portLocked(func(p int) bool { return h.packets[p] != nil })
	}
	a := address{"udp", h.name, port}
	switch {
	case h.gone:
		err = errUnplugged
	case h.packets[port] != nil:
		err = os.NewSyscallError("bind", syscall.EADDRINUSE)
	}
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "udp", Addr: a, Err: err}
	}
	p := &packetConn{host: h, addr: a}
	p.cond = sync.NewCond(&p.mu)
	h.packets[port] = p
	return p, nil
}

// wakePacketsLocked lets all who read packets look again.
func (h *Host) wakePacketsLocked() {
	for _, p := range h.packets {
		p.wake()
	}
}

func (p *packetConn) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cond.Broadcast()
}

// fail ends it.
func (p *packetConn) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
	p.queue = nil
	p.cond.Broadcast()
}

func (p *packetConn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: p.addr, Err: err}
}

// WriteTo implements net.PacketConn. It never blocks, and does not know what
// becomes of the packet.
func (p *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if len(b) > packetBytesMax {
		return 0, p.opError("write", os.NewSyscallError("sendto", syscall.EMSGSIZE))
	}
	s := p.host.net
	name, port, err := s.resolve(p.host.name, to.String())
	if err == nil {
		p.mu.Lock()
		err = p.err
		p.mu.Unlock()
	}
	if err != nil {
		return 0, p.opError("write", err)
	}
	s.mu.Lock()
	l := s.linkLocked(p.host.name, name)
	var there *packetConn
	if h := s.hosts[name]; h != nil {
		there = h.packets[port]
	}
	s.mu.Unlock()
	l.count(func(n *Counts) { n.Packets++ })
	rule, _ := l.state()
	if rule.Cut != Whole || s.chance(rule.Drop) {
		l.count(func(n *Counts) { n.PacketsDropped++ })
		return len(b), nil
	}
	if there == nil {
		return len(b), nil // nobody is there to get it
	}
	x := packet{data: slices.Clone(b), from: p.addr, link: l}
	there.deliver(x, rule)
	if s.chance(rule.Duplicate) {
		l.count(func(n *Counts) { n.PacketsDuplicated++ })
		there.deliver(x, rule)
	}
	return len(b), nil
}

// deliver puts a packet on its way.
func (p *packetConn) deliver(x packet, rule Link) {
	s := p.host.net
	x.at = time.Now().Add(s.onTheWay(rule))
	if s.chance(rule.Reorder) {
		x.link.count(func(n *Counts) { n.PacketsReordered++ })
		x.at = x.at.Add(reorderMin + s.under(4*max(reorderMin, rule.Jitter)))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || len(p.queue) == packetsMax {
		return
	}
	if x.link.isFrozen() {
		x.link.count(func(n *Counts) { n.PacketsHeld++ })
	}
	i := len(p.queue)
	for i > 0 && p.queue[i-1].at.After(x.at) {
		i--
	}
	p.queue = slices.Insert(p.queue, i, x)
	p.cond.Broadcast()
}

// ReadFrom implements net.PacketConn.
func (p *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.err != nil:
			return 0, nil, p.opError("read", p.err)
		case passed(p.readBy):
			return 0, nil, p.opError("read", os.ErrDeadlineExceeded)
		}
		x, next, ok := p.takeLocked()
		if ok {
			return copy(b, x.data), x.from, nil // what is too long is cut off, as by UDP
		}
		p.waitLocked(next)
	}
}

// takeLocked takes the first packet that is there, or says when the next one
// will be.
func (p *packetConn) takeLocked() (_ packet, next time.Time, ok bool) {
	now := time.Now()
	for i, x := range p.queue {
		switch {
		case x.at.After(now):
			return packet{}, x.at, false
		case !x.link.isFrozen():
			p.queue = slices.Delete(p.queue, i, i+1)
			return x, time.Time{}, true
		}
	}
	return packet{}, time.Time{}, false
}

func (p *packetConn) waitLocked(next time.Time) {
	if !p.readBy.IsZero() && (next.IsZero() || p.readBy.Before(next)) {
		next = p.readBy
	}
	if !next.IsZero() {
		defer time.AfterFunc(time.Until(next), p.wake).Stop()
	}
	p.cond.Wait()
}

// Close implements net.PacketConn.
func (p *packetConn) Close() error {
	s := p.host.net
	s.mu.Lock()
	if p.host.packets[p.addr.port] == p {
		delete(p.host.packets, p.addr.port)
	}
	s.mu.Unlock()
	p.mu.Lock()
	err := p.err
	p.mu.Unlock()
	if err != nil {
		return p.opError("close", err)
	}
	p.fail(net.ErrClosed)
	return nil
}

// LocalAddr implements net.PacketConn.
func (p *packetConn) LocalAddr() net.Addr { return p.addr }

// SetDeadline implements net.PacketConn. Writes never wait.
func (p *packetConn) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (p *packetConn) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readBy = t
	p.cond.Broadcast()
	return nil
}

// SetWriteDeadline implements net.PacketConn. Writes never wait.
func (p *packetConn) SetWriteDeadline(time.Time) error { return nil }
