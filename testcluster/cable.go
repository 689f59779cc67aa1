package testcluster

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// cableBytes is what a connection holds in each direction: on its way, and not
// read yet.
const cableBytes = 256 << 10

// cable is a connection between two hosts, with two ends.
type cable struct {
	net  *Switch
	mu   sync.Mutex // guards all of both ends that changes; taken before that of a link
	cond *sync.Cond // of all that
	ends [2]*end
}

// end is one end of a cable. It implements net.Conn.
type end struct {
	cable         *cable
	host          *Host
	local, remote address
	out           *link // from here to the other end
	other         *end

	in      inflow
	closed  bool  // by who has it
	broken  error // by the network
	writing bool  // one Write at a time
	readBy  time.Time
	writeBy time.Time
}

// inflow is what is on its way to an end.
type inflow struct {
	chunks []chunk
	bytes  int // of the chunks
	// unacked were read, but the acknowledgement does not get through: they
	// take room at the sender.
	unacked int
	last    time.Time // when what was sent last is there
	fin     error     // what a read gets behind the chunks; nil: it goes on
	finAt   time.Time
}

// chunk is a piece of a stream. arrived says that it had got to the host when
// its link began to stall.
type chunk struct {
	data    []byte
	at      time.Time
	arrived bool
}

func newCable(s *Switch, from, to *Host, local, remote address, there, back *link) *cable {
	c := &cable{net: s}
	c.cond = sync.NewCond(&c.mu)
	c.ends[0] = &end{cable: c, host: from, local: local, remote: remote, out: there}
	c.ends[1] = &end{cable: c, host: to, local: remote, remote: local, out: back}
	c.ends[0].other, c.ends[1].other = c.ends[1], c.ends[0]
	return c
}

// joins says whether the cable runs between the hosts of a route.
func (c *cable) joins(r route) bool {
	return c.ends[0].out.route == r || c.ends[1].out.route == r
}

// linkChanged does to a cable what follows from the state of one of its links.
func (c *cable) linkChanged(r route, stall, broke bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.ends {
		if e.out.route != r {
			continue
		}
		switch {
		case broke:
			e.out.count(func(n *Counts) { n.ConnsBroken++ })
			c.breakLocked()
		case stall:
			e.other.in.stall(e.out)
		case !e.out.stalled():
			e.in.unacked = 0
		}
	}
	c.cond.Broadcast()
}

// breakLocked breaks both ends at once, and loses what is on its way.
func (c *cable) breakLocked() {
	for _, e := range c.ends {
		if e.broken == nil {
			e.broken = syscall.ECONNRESET
		}
		lost := e.in.bytes
		e.in = inflow{}
		e.other.out.count(func(n *Counts) { n.BytesLost += lost })
	}
}

// stall notes what is there, and what is held up.
func (f *inflow) stall(l *link) {
	now := time.Now()
	held := 0
	for i, c := range f.chunks {
		if f.chunks[i].arrived = !c.at.After(now); !f.chunks[i].arrived {
			held += len(c.data)
		}
	}
	l.count(func(n *Counts) { n.BytesHeld += held })
}

// unplug takes one end away, with the host that has it: it fails at once, and
// the other one hears of it behind what was sent. over: both ends are done with.
func (e *end) unplug() (over bool) {
	e.cable.mu.Lock()
	defer e.cable.mu.Unlock()
	if !e.overLocked() {
		e.broken = syscall.ECONNRESET
		e.out.count(func(n *Counts) { n.ConnsBroken++ })
		e.endLocked(syscall.ECONNRESET)
	}
	return e.other.overLocked()
}

// endLocked lets the other end know that nothing more comes.
func (e *end) endLocked(fin error) {
	if f := &e.other.in; f.fin == nil {
		f.fin, f.finAt = fin, e.arrivalLocked()
	}
	e.cable.cond.Broadcast()
}

// arrivalLocked draws when what is sent now is at the other end.
func (e *end) arrivalLocked() time.Time {
	rule, _ := e.out.state()
	f := &e.other.in
	if at := time.Now().Add(e.cable.net.onTheWay(rule)); at.After(f.last) {
		f.last = at
	}
	return f.last
}

// waitLocked waits for a change, but not beyond the earliest of some times,
// those that are zero left out.
func (c *cable) waitLocked(times ...time.Time) {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	if !first.IsZero() {
		t := time.AfterFunc(time.Until(first), func() {
			c.mu.Lock() // who waits has begun to
			defer c.mu.Unlock()
			c.cond.Broadcast()
		})
		defer t.Stop()
	}
	c.cond.Wait()
}

// stateLocked is the error of whoever reads or writes, if there is one.
func (e *end) stateLocked(deadline time.Time) error {
	switch {
	case e.closed:
		return net.ErrClosed
	case e.broken != nil:
		return e.broken
	case passed(deadline):
		return os.ErrDeadlineExceeded
	}
	return nil
}

func passed(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }

func (e *end) opError(op string, err error) error {
	if err == io.EOF {
		return err // as every reader expects
	}
	return &net.OpError{Op: op, Net: e.local.network, Source: e.local, Addr: e.remote, Err: err}
}

// Read implements net.Conn.
func (e *end) Read(b []byte) (int, error) {
	c := e.cable
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := e.stateLocked(e.readBy); err != nil {
			return 0, e.opError("read", err)
		}
		if n := e.takeLocked(b); n > 0 || len(b) == 0 {
			c.cond.Broadcast()
			return n, nil
		}
		if e.finishedLocked() {
			return 0, e.opError("read", e.in.fin)
		}
		c.waitLocked(e.readBy, e.nextLocked())
	}
}

// takeLocked reads what has arrived.
func (e *end) takeLocked(b []byte) (n int) {
	f := &e.in
	now := time.Now()
	in := e.other.out
	stalled, frozen := in.stalled(), in.isFrozen()
	for len(f.chunks) > 0 && n < len(b) {
		c := &f.chunks[0]
		if c.at.After(now) || stalled && (frozen || !c.arrived) {
			break
		}
		m := copy(b[n:], c.data)
		n += m
		if c.data = c.data[m:]; len(c.data) == 0 {
			f.chunks[0] = chunk{}
			f.chunks = f.chunks[1:]
		}
	}
	f.bytes -= n
	if e.out.stalled() {
		f.unacked += n
	}
	return n
}

// finishedLocked says whether this end has heard that nothing more comes. A
// reader that has not read all does so first.
func (e *end) finishedLocked() bool {
	return e.in.fin != nil && !e.other.out.stalled() && !e.in.finAt.After(time.Now())
}

// nextLocked is when the next thing arrives, if that is known.
func (e *end) nextLocked() time.Time {
	switch {
	case e.other.out.stalled():
		return time.Time{}
	case len(e.in.chunks) > 0:
		return e.in.chunks[0].at
	case e.in.fin != nil:
		return e.in.finAt
	}
	return time.Time{}
}

// Write implements net.Conn.
func (e *end) Write(b []byte) (n int, err error) {
	c := e.cable
	c.mu.Lock()
	defer c.mu.Unlock()
	for e.writing {
		if err := e.stateLocked(e.writeBy); err != nil {
			return 0, e.opError("write", err)
		}
		c.waitLocked(e.writeBy)
	}
	e.writing = true
	defer func() {
		e.writing = false
		c.cond.Broadcast()
	}()
	for {
		if err := e.stateLocked(e.writeBy); err != nil {
			return n, e.opError("write", err)
		}
		if e.finishedLocked() {
			return n, e.opError("write", syscall.EPIPE)
		}
		f := &e.other.in
		m := min(len(b), max(0, cableBytes-f.bytes-f.unacked))
		if m > 0 {
			e.sendLocked(b[:m])
			n, b = n+m, b[m:]
		}
		if len(b) == 0 {
			return n, nil
		}
		var fin time.Time
		if e.in.fin != nil && !e.other.out.stalled() {
			fin = e.in.finAt
		}
		c.waitLocked(e.writeBy, fin)
	}
}

// sendLocked puts bytes on their way.
func (e *end) sendLocked(b []byte) {
	f := &e.other.in
	f.chunks = append(f.chunks, chunk{data: append([]byte(nil), b...), at: e.arrivalLocked()})
	f.bytes += len(b)
	stalled := e.out.stalled()
	e.out.count(func(n *Counts) {
		n.Bytes += len(b)
		if stalled {
			n.BytesHeld += len(b)
		}
	})
	e.cable.cond.Broadcast()
}

// Close implements net.Conn. What was written arrives all the same.
func (e *end) Close() error {
	c := e.cable
	c.mu.Lock()
	if e.closed {
		c.mu.Unlock()
		return e.opError("close", net.ErrClosed)
	}
	e.closed = true
	if e.broken == nil {
		e.endLocked(io.EOF)
	}
	c.cond.Broadcast()
	over := e.other.overLocked()
	c.mu.Unlock()
	if over {
		c.net.forget(c)
	}
	return nil
}

func (e *end) overLocked() bool { return e.closed || e.broken != nil }

// LocalAddr implements net.Conn.
func (e *end) LocalAddr() net.Addr { return e.local }

// RemoteAddr implements net.Conn.
func (e *end) RemoteAddr() net.Addr { return e.remote }

// SetDeadline implements net.Conn.
func (e *end) SetDeadline(t time.Time) error { return e.setDeadlines(t, true, true) }

// SetReadDeadline implements net.Conn.
func (e *end) SetReadDeadline(t time.Time) error { return e.setDeadlines(t, true, false) }

// SetWriteDeadline implements net.Conn.
func (e *end) SetWriteDeadline(t time.Time) error { return e.setDeadlines(t, false, true) }

func (e *end) setDeadlines(t time.Time, read, write bool) error {
	c := e.cable
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.closed {
		return e.opError("set", net.ErrClosed)
	}
	if read {
		e.readBy = t
	}
	if write {
		e.writeBy = t
	}
	c.cond.Broadcast()
	return nil
}
