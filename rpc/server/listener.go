package server

import (
	"net"
	"sync"
)

// listener hands out connections that are counted. Those that came when there
// were enough of clients have said before that they are of a node: what is not
// let in costs gRPC nothing.
type listener struct {
	net.Listener
	s    *Server
	in   chan net.Conn
	errs chan error

	over    chan struct{} // closed by Close
	once    sync.Once
	err     error // of Close
	running sync.WaitGroup
}

func newListener(l net.Listener, s *Server) *listener {
	x := &listener{Listener: l, s: s, in: make(chan net.Conn), errs: make(chan error), over: make(chan struct{})}
	x.running.Go(x.accept)
	return x
}

// accept takes connections until Close.
func (l *listener) accept() {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			select {
			case l.errs <- err:
				continue
			case <-l.over:
				return
			}
		}
		switch x := l.s.conns.add(c, l.s); {
		case x == nil:
			_ = c.Close() // nobody is interested
		case x.trial:
			l.running.Go(func() {
				if x.begin() == nil {
					l.hand(x)
				}
			})
		default:
			l.hand(x)
		}
	}
}

func (l *listener) hand(c *conn) {
	select {
	case l.in <- c:
	case <-l.over:
		_ = c.Close() // the server closes
	}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.in:
		return c, nil
	case err := <-l.errs:
		return nil, err
	case <-l.over:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.over)
		l.err = l.Listener.Close()
	})
	return l.err
}
