package server

import (
	"bufio"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ownCalls is how many calls a connection has whatever others do.
const ownCalls = 8

const (
	// resetWindow is the time within which calls that are taken back are counted.
	resetWindow = 10 * time.Second
	// unansweredCost is for how many one counts that was taken back before it had
	// any answer: its client has had nothing of it, and the server its work.
	unansweredCost = 10
	// resetPause is how long a call of a connection waits before it begins, for
	// each tenth of its resets that such calls have used up.
	resetPause = time.Millisecond
)

// conn is one connection, and what it has of the server's limits.
type conn struct {
	net.Conn
	s     *Server
	trial bool // it came when there were enough of clients
	close sync.Once
	err   error // of Close

	in      *bufio.Reader // of arriving, once it speaks; gRPC has no buffer of its own
	first   sync.Once     // what it says first is read
	heard   atomic.Bool   // something of it is
	early   []byte        // of that, what is HTTP/2 already; its reader's
	refused error         // it must not go on; set by first
	kind    connKind      // guarded by conns.mu

	mu      sync.Mutex
	spoken  bool // HTTP/2
	clients own  // of the calls in Server.clients
	peers   own  // and of those in Server.peers
	resets  int  // since; what counts of them
	vain    int  // of these, of calls without an answer
	since   time.Time

	owed atomic.Int64 // for how long it is not read on, ns
}

// readBufferBytes is a frame of data, about: followers have one each.
const readBufferBytes = 16 << 10

// own is what a connection has of a room.
type own struct{ calls, waiting int }

// connOf finds the connection that an address came from.
func connOf(a net.Addr) *conn {
	if p, ok := a.(peerAddr); ok {
		return p.conn
	}
	return nil
}

// peerAddr is the address of a connection's other end, and the connection.
type peerAddr struct {
	net.Addr
	conn *conn
}

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return peerAddr{c.Conn.RemoteAddr(), c} }

// Read implements net.Conn. gRPC reads frame by frame, so what a frame has brought
// on the connection holds up the next, and no lock is held meanwhile.
func (c *conn) Read(b []byte) (int, error) {
	if err := c.begin(); err != nil {
		return 0, err
	}
	if d := time.Duration(c.owed.Swap(0)); d > 0 {
		c.s.pass(d)
	}
	if c.in == nil {
		c.in = bufio.NewReaderSize(arriving{c}, readBufferBytes)
	}
	return c.in.Read(b)
}

// owe has the connection not be read on for a while.
func (c *conn) owe(d time.Duration) { c.owed.Add(int64(d)) }

// pass lets time pass, but not once the server drains.
func (s *Server) pass(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.drained.Done():
	}
}

// arriving reads what comes in on a connection that was let in.
type arriving struct{ c *conn }

func (r arriving) Read(b []byte) (int, error) {
	c := r.c
	if len(c.early) > 0 {
		n := copy(b, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	n, err := c.Conn.Read(b)
	c.s.metrics.received.Add(float64(n))
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.s.metrics.sent.Add(float64(n))
	return n, err
}

// SetDeadline implements net.Conn. gRPC lifts its deadline after the handshake.
func (c *conn) SetDeadline(t time.Time) error {
	if t.IsZero() {
		c.mu.Lock()
		c.spoken = true
		c.mu.Unlock()
	}
	return c.Conn.SetDeadline(t)
}

func (c *conn) speaks() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spoken
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.close.Do(func() {
		c.s.conns.remove(c)
		c.s.metrics.connections.Dec()
		if !c.speaks() && !c.trial {
			c.s.metrics.handshakes.Inc()
		}
		c.err = c.Conn.Close()
	})
	return c.err
}

// reset counts a call that was taken back, and says whether these are too many.
func (c *conn) reset(now time.Time, answered bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.since) > resetWindow {
		c.since, c.resets, c.vain = now, 0, 0
	}
	if answered {
		c.resets++
	} else {
		c.resets += unansweredCost
		c.vain += unansweredCost
	}
	return c.resets > c.s.cfg.Limits.Resets
}

// pause says how long the next call must wait: whoever begins calls only to take
// them back is slowed down long before the connection is closed.
func (c *conn) pause(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.since) > resetWindow {
		return 0
	}
	return min(time.Duration(10*c.vain/c.s.cfg.Limits.Resets), 10) * resetPause
}

// room is what calls of one kind have, those of clients or those of other nodes.
type room struct {
	calls   pool // in progress
	waiting pool // of these, without their first message
}

// pool bounds something of all connections together, but for ownCalls of each.
type pool struct {
	most int

	mu   sync.Mutex
	used int
}

// take takes one for a connection that has *own of them; conn.mu guards that.
func (p *pool) take(c *conn, own *int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *own >= ownCalls {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.used >= p.most {
			return false
		}
		p.used++
	}
	*own++
	return true
}

func (p *pool) give(c *conn, own *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *own--; *own >= ownCalls {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.used--
	}
}
