package server

import (
	"runtime"

	"golang.org/x/time/rate"
)

// crowd is how many calls of a connection may wait for their first message
// before the next one has to queue. Whoever means a call sends it with the call:
// so many wait only where a client leaves its calls lying.
const crowd = 16

// newCrowd bounds the calls that begin in spite of that, or are refused. Each
// takes some 15 µs: by default that is less than a twentieth of a processor. A
// burst is that of 50 ms.
func newCrowd(perSecond int) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(perSecond), max(1, perSecond/20))
}

// queue holds up a connection that begins calls which are refused, or for which
// it sends nothing, so that those of others go first.
func (s *Server) queue(c *conn, refused bool) {
	if !refused && !c.crowded() {
		return
	}
	runtime.Gosched() // those that wait may have got their messages
	if refused || c.crowded() {
		c.owe(s.crowds.Reserve().Delay())
	}
}

func (c *conn) crowded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clients.waiting+c.peers.waiting >= crowd
}
