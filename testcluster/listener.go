package testcluster

import (
	"net"
	"os"
	"syscall"
)

// backlogMax is how many connections wait to be accepted; further dials hang.
const backlogMax = 128

// Listen takes an address of the host for connections; port 0 takes a free
// one. Errors: syscall.EADDRINUSE, syscall.EADDRNOTAVAIL.
func (h *Host) Listen(addr string) (net.Listener, error) {
	port, err := h.own("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := h.net
	s.mu.Lock()
	defer s.mu.Unlock()
	if port == 0 {
		port = h.portLocked(func(p int) bool { return h.listeners[p] != nil })
	}
	a := address{"tcp", h.name, port}
	switch {
	case h.gone:
		err = errUnplugged
	case h.listeners[port] != nil:
		err = os.NewSyscallError("bind", syscall.EADDRINUSE)
	}
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: a, Err: err}
	}
	l := &listener{host: h, addr: a}
	h.listeners[port] = l
	return l, nil
}

// listener implements net.Listener.
type listener struct {
	host *Host
	addr address

	// Guarded by the network's lock.
	closed  bool
	backlog []*end
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	s := l.host.net
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case l.closed:
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
		case len(l.backlog) > 0 && !s.paused[l.host.name]:
			e := l.backlog[0]
			l.backlog = l.backlog[1:]
			s.change.Broadcast() // to those who wait for room
			return e, nil
		}
		s.change.Wait()
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	s := l.host.net
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.closed {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	l.closeLocked()
	s.change.Broadcast()
	return nil
}

func (l *listener) closeLocked() {
	l.closed = true
	delete(l.host.listeners, l.addr.port)
	for _, e := range l.backlog {
		l.host.net.unplugLocked(e) // nobody will ever accept it
	}
	l.backlog = nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }
