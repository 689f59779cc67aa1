package testcluster

import (
	"context"
	"net"
	"os"
	"syscall"
	"time"
)

// dialPatience ends a dial that nobody answers, as Linux does.
const dialPatience = 127 * time.Second

// Dial connects to an address. It takes a round trip; nobody there:
// syscall.ECONNREFUSED, a broken link: syscall.EHOSTUNREACH, a stalled one: as
// long as ctx lasts, and then its error, or syscall.ETIMEDOUT.
func (h *Host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	s := h.net
	name, port, err := s.resolve(h.name, addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	d := &dial{host: h, to: address{"tcp", name, port}, until: time.Now().Add(dialPatience)}
	e, err := d.run(ctx)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: d.to, Err: err}
	}
	return e, nil
}

// dial is one call of Dial.
type dial struct {
	host    *Host
	to      address
	there   *link
	back    *link
	at      time.Time // when the round trip is over
	until   time.Time
	stalled bool // it was noted
}

func (d *dial) run(ctx context.Context) (*end, error) {
	s := d.host.net
	s.mu.Lock()
	defer s.mu.Unlock()
	wake := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.change.Broadcast()
	}
	defer context.AfterFunc(ctx, wake)()
	d.there, d.back = s.linkLocked(d.host.name, d.to.host), s.linkLocked(d.to.host, d.host.name)
	there, _ := d.there.state()
	back, _ := d.back.state()
	d.at = time.Now().Add(s.onTheWay(there) + s.onTheWay(back))
	for {
		e, err := d.tryLocked(ctx)
		if e != nil || err != nil {
			return e, err
		}
		next := d.until
		if now := time.Now(); d.at.After(now) {
			next = d.at
		}
		t := time.AfterFunc(time.Until(next), wake)
		s.change.Wait()
		t.Stop()
	}
}

// tryLocked makes the connection, or says why there never will be one, or
// neither.
func (d *dial) tryLocked(ctx context.Context) (*end, error) {
	s, now := d.host.net, time.Now()
	there, _ := d.there.state()
	back, _ := d.back.state()
	switch {
	case d.host.gone:
		return nil, errUnplugged
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case !now.Before(d.until):
		return nil, os.NewSyscallError("connect", syscall.ETIMEDOUT)
	case there.Cut == Broken || back.Cut == Broken:
		d.there.count(func(n *Counts) { n.DialsRefused++ })
		return nil, os.NewSyscallError("connect", syscall.EHOSTUNREACH)
	case there.Cut == Stalled || back.Cut == Stalled || s.paused[d.host.name]:
		if !d.stalled {
			d.stalled = true
			d.there.count(func(n *Counts) { n.DialsStalled++ })
		}
		return nil, nil
	case d.at.After(now):
		return nil, nil
	}
	h := s.hosts[d.to.host]
	if h == nil || h.listeners[d.to.port] == nil {
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	l := h.listeners[d.to.port]
	if len(l.backlog) >= backlogMax {
		return nil, nil
	}
	return d.connectLocked(l), nil
}

func (d *dial) connectLocked(l *listener) *end {
	s := d.host.net
	local := address{"tcp", d.host.name, d.host.portLocked(func(int) bool { return false })}
	c := newCable(s, d.host, l.host, local, d.to, d.there, d.back)
	s.cables[c] = struct{}{}
	l.backlog = append(l.backlog, c.ends[1])
	d.there.count(func(n *Counts) { n.Conns++ })
	s.change.Broadcast()
	return c.ends[0]
}
