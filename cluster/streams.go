package cluster

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// helloingMax bounds the connections that others have made and whose hellos are
// not over. One more ends the oldest: ours need no longer than a round trip, and
// whoever says nothing can't keep them out.
const helloingMax = 64

var errMuted = errors.New("this member can't work and speaks to nobody")

// streams is raft's way to others: each connection begins with a hello of both
// ends, which shows that they belong to one cluster. It implements
// raft.StreamLayer. Addresses are identity@host:port.
type streams struct {
	network  Network
	listener net.Listener
	address  streamAddr
	door     *doorman
	logger   *slog.Logger
	metrics  *metrics
	limit    logLimit

	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	accepted chan net.Conn
	running  sync.WaitGroup // accept and what it has started

	mu       sync.Mutex
	open     map[*stream]struct{} // guarded by mu, as are all below
	helloing []*stream            // taken, hellos not over; oldest first
	muted    bool
	closed   bool
}

// streamAddr is an address of raft: where, and who is meant.
type streamAddr struct{ identity, hostPort string }

func (a streamAddr) Network() string { return "wpd" }
func (a streamAddr) String() string  { return a.identity + "@" + a.hostPort }
func (a streamAddr) server() raft.ServerAddress {
	return raft.ServerAddress(a.String())
}

// parseStreamAddr is the inverse of String. An address without an @ is that of
// a member that began without a network: nobody can reach it there.
func parseStreamAddr(s raft.ServerAddress) (streamAddr, bool) {
	identity, hostPort, ok := strings.Cut(string(s), "@")
	return streamAddr{identity, hostPort}, ok
}

// stream is a connection.
type stream struct {
	net.Conn
	layer *streams
	peer  string // the identity of the other end; empty while not known
	once  sync.Once
	err   error
	done  func() // called by Close
}

// Close implements net.Conn.
func (s *stream) Close() error {
	s.once.Do(func() {
		s.layer.forget(s)
		s.err = s.Conn.Close()
		if s.done != nil {
			s.done()
		}
	})
	return s.err
}

func newStreams(c Config, l net.Listener, a streamAddr, d *doorman, m *metrics) *streams {
	s := &streams{
		network: c.Network, listener: l, address: a, door: d, logger: c.Logger, metrics: m,
		accepted: make(chan net.Conn), open: make(map[*stream]struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// start takes connections from now on.
func (s *streams) start() { s.running.Go(s.accept) }

// Addr implements net.Listener.
func (s *streams) Addr() net.Addr { return s.address }

// Accept implements net.Listener: it returns connections whose hellos are over.
func (s *streams) Accept() (net.Conn, error) {
	select {
	case c := <-s.accepted:
		return c, nil
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It ends all connections, and waits for those
// whose hellos are not over.
func (s *streams) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	err := s.listener.Close()
	s.cut(func(*stream) bool { return true })
	s.running.Wait()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return err
}

// mute, while on, ends all connections and lets none begin.
func (s *streams) mute(on bool) {
	s.mu.Lock()
	s.muted = on
	s.mu.Unlock()
	if on {
		s.cut(func(*stream) bool { return true })
	}
}

// drop ends the connections with a member.
func (s *streams) drop(identity string) {
	s.cut(func(c *stream) bool { return c.peer == identity })
}

// cut breaks connections; who uses them closes them then.
func (s *streams) cut(which func(*stream) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		if which(c) {
			_ = c.Conn.Close() // Close tells
		}
	}
}

func (s *streams) forget(c *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	s.greetedLocked(c)
}

// greetedLocked takes a connection from those whose hellos are not over.
func (s *streams) greetedLocked(c *stream) {
	for i, x := range s.helloing {
		if x == c {
			s.helloing = append(s.helloing[:i], s.helloing[i+1:]...)
			return
		}
	}
}

// admit adds a connection, unless none may be now.
func (s *streams) admit(c net.Conn, taken bool) (*stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, net.ErrClosed
	case s.muted:
		return nil, errMuted
	}
	x := &stream{Conn: c, layer: s}
	s.open[x] = struct{}{}
	if taken {
		if len(s.helloing) == helloingMax {
			_ = s.helloing[0].Conn.Close()
			s.helloing = s.helloing[1:]
		}
		s.helloing = append(s.helloing, x)
	}
	return x, nil
}

// known notes who is at the other end, once the hellos are over.
func (s *streams) known(c *stream, peer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.peer = peer
	s.greetedLocked(c)
}

// accept takes connections until the listener is closed.
func (s *streams) accept() {
	const waitMax = time.Second
	wait := 5 * time.Millisecond
	for {
		c, err := s.listener.Accept()
		if s.ctx.Err() != nil {
			if err == nil {
				_ = c.Close()
			}
			return
		}
		if err != nil {
			s.logger.Warn("raft's listener does not take connections", "err", err)
			select {
			case <-time.After(wait):
			case <-s.ctx.Done():
				return
			}
			wait = min(2*wait, waitMax)
			continue
		}
		x, err := s.admit(c, true)
		if err != nil {
			_ = c.Close()
			continue
		}
		s.running.Go(func() { s.take(x) })
	}
}
