package testcluster

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
)

// The ports that are given to whoever asks for any.
const (
	portsFirst = 32768
	portsMax   = 65535
)

// errUnplugged is what a host that was unplugged gets.
var errUnplugged = errors.New("testcluster: the host is unplugged")

// Host is one life of a host of a [Switch]. Its methods are those of package
// net, as far as a node needs them. All may be called at the same time.
type Host struct {
	net  *Switch
	name string

	// Guarded by net.mu.
	gone      bool
	listeners map[int]*listener
	packets   map[int]*packetConn
	lastPort  int
}

// Name is the name of the host.
func (h *Host) Name() string { return h.name }

// IP is the host's address.
func (h *Host) IP() net.IP {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.net.ips[h.name]
}

// LookupHost finds the address of a host of the network.
func (h *Host) LookupHost(_ context.Context, host string) ([]string, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if ip := h.net.ips[host]; ip != nil {
		return []string{ip.String()}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// Unplug ends the life of a host, as when its process dies: its listeners are
// gone, its connections broken, dials to it refused. What it sent before may
// still arrive. Switch.Host plugs in the next life.
func (h *Host) Unplug() {
	s := h.net
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.gone {
		return
	}
	h.gone = true
	if s.hosts[h.name] == h {
		delete(s.hosts, h.name)
	}
	for _, l := range h.listeners {
		l.closeLocked()
	}
	for _, p := range h.packets {
		p.fail(errUnplugged)
	}
	for c := range s.cables {
		for _, e := range c.ends {
			if e.host == h {
				s.unplugLocked(e)
			}
		}
	}
	s.change.Broadcast()
}

// unplugLocked takes one end of a cable away.
func (s *Switch) unplugLocked(e *end) {
	if e.unplug() {
		delete(s.cables, e.cable)
	}
}

// forget drops a cable that nobody holds any more.
func (s *Switch) forget(c *cable) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cables, c)
}

// portLocked finds a free port.
func (h *Host) portLocked(taken func(int) bool) int {
	for {
		if h.lastPort++; h.lastPort < portsFirst || h.lastPort > portsMax {
			h.lastPort = portsFirst
		}
		if !taken(h.lastPort) {
			return h.lastPort
		}
	}
}

// own resolves an address at which the host is to listen.
func (h *Host) own(network, addr string) (port int, err error) {
	name, port, err := h.net.resolve(h.name, addr)
	if err == nil && name != h.name {
		err = os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)
	}
	if err != nil {
		return 0, &net.OpError{Op: "listen", Net: network, Addr: address{network, name, port}, Err: err}
	}
	return port, nil
}
