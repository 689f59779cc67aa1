package server

import (
	"net"
	"sync"
	"time"
)

// ownCalls is how many calls a connection has whatever others do.
const ownCalls = 8

// resetWindow is the time within which calls that are taken back are counted.
const resetWindow = 10 * time.Second

// listener hands out connections that are counted, and closes those that are
// too many.
type listener struct {
	net.Listener
	s *Server
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.s.conns.add(c, l.s); c != nil {
			return ready(c), nil
		}
		l.s.metrics.refused.Inc()
		if skipped, ok := l.s.logConns.now(); ok {
			l.s.cfg.Logger.Warn("refused a connection: there are too many", "limit", l.s.cfg.Limits.Connections,
				"peer", c.RemoteAddr().String(), "refused_since", skipped)
		}
		_ = c.Close() // nobody is interested
	}
}

// conns are the connections of a server.
type conns struct {
	most int

	mu  sync.Mutex
	all map[*conn]struct{}
}

// add counts a connection; nil: there are too many, or the server closes.
func (l *conns) add(c net.Conn, s *Server) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) >= l.most || s.closing.Err() != nil {
		return nil
	}
	x := &conn{Conn: c, s: s}
	l.all[x] = struct{}{}
	s.metrics.connections.Inc()
	return x
}

func (l *conns) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, c)
}

// closeSilent closes the connections that do not speak HTTP/2 yet.
func (l *conns) closeSilent() {
	l.mu.Lock()
	var silent []*conn
	for c := range l.all {
		if !c.speaks() {
			silent = append(silent, c)
		}
	}
	l.mu.Unlock()
	for _, c := range silent {
		_ = c.Close() // nothing was said on it
	}
}

// conn is one connection, and what it has of the server's limits.
type conn struct {
	net.Conn
	s     *Server
	close sync.Once
	err   error // of Close

	mu      sync.Mutex
	spoken  bool // HTTP/2
	calls   int  // in progress
	waiting int  // of these, without their first message
	resets  int  // since
	since   time.Time
}

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

func (c *conn) Read(b []byte) (int, error) {
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
		if !c.speaks() {
			c.s.metrics.handshakes.Inc()
		}
		c.err = c.Conn.Close()
	})
	return c.err
}

// reset counts a call that was taken back, and says whether these are too many.
func (c *conn) reset(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.since) > resetWindow {
		c.since, c.resets = now, 0
	}
	c.resets++
	return c.resets > c.s.cfg.Limits.Resets
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
