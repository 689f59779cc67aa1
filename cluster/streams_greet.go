package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// helloTimeout bounds the hellos of a connection.
const helloTimeout = 5 * time.Second

var errImpostor = errors.New("who answered is not who was meant")

// take does the hellos of a connection that was made by another, and hands it
// to raft.
func (s *streams) take(c *stream) {
	if err := s.welcome(c); err != nil {
		_ = c.Close()
		if s.ctx.Err() == nil {
			s.refused(c.RemoteAddr(), err)
		}
		return
	}
	select {
	case s.accepted <- c:
	case <-s.ctx.Done():
		_ = c.Close()
	}
}

// refused logs, and counts, a connection that did not get to raft.
func (s *streams) refused(from net.Addr, err error) {
	s.metrics.refused.Inc()
	if dropped, ok := s.limit.pass(); ok {
		s.logger.Warn("a connection to raft's address was refused", "from", from, "err", err, "unlogged", dropped)
	}
}

// welcome does the hellos of a connection that was made by another.
func (s *streams) welcome(c *stream) error {
	if err := c.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	theirs, err := readHello(c)
	if err != nil {
		return err
	}
	ours := s.door.hello()
	if theirs.cluster != ours.cluster {
		// Not answered: an answer would tell a stranger what to say next time.
		return fmt.Errorf("node %q is of cluster %s", theirs.from, theirs.cluster)
	}
	ours.to = theirs.from
	if theirs.to != ours.from {
		ours.verdict = verdictElsewhere
	} else {
		ctx, cancel := context.WithTimeout(s.ctx, helloTimeout)
		ours.verdict = s.door.judge(ctx, theirs)
		cancel()
	}
	if _, err := c.Write(ours.encode()); err != nil {
		return err
	}
	if ours.verdict != verdictWelcome {
		return fmt.Errorf("node %q, boot %d: %s", theirs.from, theirs.boot, ours.verdict)
	}
	s.known(c, theirs.from)
	return c.SetDeadline(time.Time{})
}

func readHello(r io.Reader) (hello, error) {
	b := make([]byte, helloBytes)
	if n, err := io.ReadFull(r, b); err != nil {
		return hello{}, fmt.Errorf("it sent %d bytes of a hello: %w", n, err)
	}
	return decodeHello(b)
}

// Dial implements raft.StreamLayer.
func (s *streams) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	a, ok := parseStreamAddr(address)
	if !ok {
		return nil, fmt.Errorf("dial %s: it has no network address yet", address)
	}
	if a.identity == s.address.identity {
		return s.dialSelf()
	}
	ctx, cancel := context.WithTimeout(s.ctx, min(timeout, helloTimeout))
	defer cancel()
	c, err := s.network.Dial(ctx, a.hostPort)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	x, err := s.admit(c, false)
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	if err := s.greet(ctx, x, a.identity); err != nil {
		_ = x.Close()
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	return x, nil
}

// greet does the hellos of a connection that we have made.
func (s *streams) greet(ctx context.Context, c *stream, to string) error {
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	ours := s.door.hello()
	ours.to = to
	if _, err := c.Write(ours.encode()); err != nil {
		return err
	}
	theirs, err := readHello(c)
	if err != nil {
		return err
	}
	switch {
	case theirs.cluster != ours.cluster:
		return fmt.Errorf("%w: node %q of cluster %s", errImpostor, theirs.from, theirs.cluster)
	case theirs.verdict != verdictWelcome && theirs.verdict != verdictRemoved:
		return fmt.Errorf("refused by node %q: %s", theirs.from, theirs.verdict)
	case theirs.from != to:
		return fmt.Errorf("%w: node %q", errImpostor, theirs.from)
	}
	if v := s.door.judge(ctx, theirs); v != verdictWelcome {
		return fmt.Errorf("%w: node %q, boot %d: %s", errImpostor, theirs.from, theirs.boot, v)
	}
	if theirs.verdict == verdictRemoved {
		s.door.turnedAway()
		return fmt.Errorf("refused by node %q: %s", to, theirs.verdict)
	}
	s.known(c, to)
	return c.SetDeadline(time.Time{})
}

// dialSelf makes a connection to ourselves, which needs no network.
func (s *streams) dialSelf() (net.Conn, error) {
	here, there := net.Pipe()
	near, err := s.admit(here, false)
	if err != nil {
		return nil, err
	}
	far, err := s.admit(there, false)
	if err != nil {
		_ = near.Close()
		return nil, err
	}
	select {
	case s.accepted <- far:
		return near, nil
	case <-s.ctx.Done():
		_ = far.Close()
		_ = near.Close()
		return nil, net.ErrClosed
	}
}
