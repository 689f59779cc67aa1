package server

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/wpd-io/wpd/rpc"
)

const (
	// trialsMax bounds the connections that came when there were enough of
	// clients, and have not said yet whether they are of a node. A further one
	// takes the place of the oldest that has said nothing, so that one that
	// speaks at once gets in however many come that are silent. Each costs a few
	// KB; that they are many, and not closed at once, slows down those who come
	// again as soon as they are.
	trialsMax = 1024
	// trialTimeout bounds how long one of them may say nothing.
	trialTimeout = time.Second
)

// connKind is whom a connection is counted for.
type connKind int

const (
	kindClient connKind = iota
	kindPeer
	kindTrial // nobody yet
)

// errRefused is what gRPC gets of a connection that is not let in.
var errRefused = errors.New("the connection is not let in")

// conns are the connections of a server. Clients and nodes have room of their
// own; which of them a connection is, the first bytes on it say.
type conns struct {
	clientsMax, peersMax int

	mu      sync.Mutex // guards what follows
	all     map[*conn]struct{}
	clients int
	peers   int
	trials  []*conn // the oldest first
}

// add counts a connection; nil: there are too many, or the server closes.
func (l *conns) add(nc net.Conn, s *Server) *conn {
	c := &conn{Conn: nc, s: s}
	silent, err := l.admit(c)
	switch {
	case errors.Is(err, errRefused):
		s.refused(nc)
		return nil
	case err != nil:
		return nil
	case silent != nil:
		_ = silent.Close() // its reader finds out
	}
	s.metrics.connections.Inc()
	return c
}

// admit finds room for a connection, if need be that of a silent one, which is
// to be closed then. All who begin a call or end a connection wait for it, so it
// waits for nobody. Errors: errRefused, net.ErrClosed.
func (l *conns) admit(c *conn) (silent *conn, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c.s.closing.Err() != nil:
		return nil, net.ErrClosed
	case l.clients < l.clientsMax:
		l.clients++
	default:
		if len(l.trials) >= trialsMax {
			i := slices.IndexFunc(l.trials, (*conn).silent)
			if i < 0 {
				return nil, errRefused
			}
			silent = l.trials[i]
			l.trials = slices.Delete(l.trials, i, i+1)
		}
		c.trial, c.kind = true, kindTrial
		l.trials = append(l.trials, c)
	}
	l.all[c] = struct{}{}
	return silent, nil
}

// silent says that nothing came on a connection yet. Between the two looks, hear
// may have taken what the one in the middle looks for.
func (c *conn) silent() bool { return !c.heard.Load() && !hasSpoken(c.Conn) && !c.heard.Load() }

func (l *conns) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, c)
	l.uncountLocked(c)
}

func (l *conns) uncountLocked(c *conn) {
	switch c.kind {
	case kindClient:
		l.clients--
	case kindPeer:
		l.peers--
	case kindTrial:
		if i := slices.Index(l.trials, c); i >= 0 {
			l.trials = slices.Delete(l.trials, i, i+1)
		}
	}
}

// settle counts a connection for whom it turned out to be of; false: there are
// too many of them.
func (l *conns) settle(c *conn, peer bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	kind := kindClient
	if peer {
		kind = kindPeer
	}
	if _, ok := l.all[c]; !ok {
		return false // it is closed
	}
	if c.kind == kind {
		return true
	}
	if peer && l.peers >= l.peersMax || !peer && l.clients >= l.clientsMax {
		return false
	}
	l.uncountLocked(c)
	if c.kind = kind; peer {
		l.peers++
	} else {
		l.clients++
	}
	return true
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

// isPeer says whether the connection is of a node.
func (c *conn) isPeer() bool {
	c.s.conns.mu.Lock()
	defer c.s.conns.mu.Unlock()
	return c.kind == kindPeer
}

// begin reads what the connection says first, and lets it in, or not.
func (c *conn) begin() error {
	c.first.Do(func() {
		if c.refused = c.hear(); c.refused != nil {
			c.refuse()
		}
	})
	return c.refused
}

func (c *conn) hear() error {
	if c.trial {
		if err := c.SetReadDeadline(time.Now().Add(min(trialTimeout, c.s.cfg.Limits.HandshakeTimeout))); err != nil {
			return err
		}
	}
	said := make([]byte, len(rpc.PeerPreamble))
	n, err := c.Conn.Read(said)
	if n == 0 {
		return cmp.Or(err, io.ErrNoProgress)
	}
	c.heard.Store(true)
	c.s.metrics.received.Add(float64(n))
	peer := said[0] == rpc.PeerPreamble[0] // which HTTP/2 does not begin with
	if peer {
		if _, err := io.ReadFull(c.Conn, said[n:]); err != nil {
			return err
		}
		if !bytes.Equal(said, []byte(rpc.PeerPreamble)) {
			return fmt.Errorf("it is neither HTTP/2 nor of a node: it begins with %q", said)
		}
		n = 0
	}
	if !c.s.conns.settle(c, peer) {
		return errRefused
	}
	c.early = said[:n]
	if c.trial {
		return c.SetReadDeadline(time.Now().Add(c.s.cfg.Limits.HandshakeTimeout))
	}
	return nil
}

// refuse closes a connection that is one too many.
func (c *conn) refuse() {
	if c.trial || errors.Is(c.refused, errRefused) {
		c.s.refused(c)
	}
	_ = c.Close() // nobody is interested
}

func (s *Server) refused(c net.Conn) {
	s.metrics.refused.Inc()
	if skipped, ok := s.logConns.now(); ok {
		s.cfg.Logger.Warn("refused a connection: there are too many", "limit", s.cfg.Limits.Connections,
			"limit_of_nodes", s.cfg.Limits.PeerConnections, "peer", c.RemoteAddr().String(), "refused_since", skipped)
	}
}
