package server

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/tap"

	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/wal/api"
)

// call is one call that a client makes, from its first header to its status.
type call struct {
	s      *Server
	m      *method
	cancel context.CancelCauseFunc // ends the stream under the call
	start  time.Time

	peer    net.Addr // nil: gRPC does not know
	conn    *conn    // nil on a listener that is not ours
	request string   // the id that the client gave it; may be empty

	// What it has of the connection's and the server's calls.
	room    *room
	own     *own
	counted bool        // as a call in progress
	waiting atomic.Bool // and as one whose first message has not come
	timer   *time.Timer // of waiting; nil: for as long as the client likes
	begun   atomic.Int32
	unwatch func() bool // stops abandon from being called

	answered atomic.Bool // something was sent

	refused error // it must not begin
}

// The states of call.begun: a handler gets the call, or it ends before.
const (
	callNew int32 = iota
	callBegun
	callAbandoned
)

// from says where the call comes from, for people.
func (c *call) from() string {
	if c.peer == nil {
		return ""
	}
	return c.peer.String()
}

type callKey struct{}

// callOf finds the call that ctx belongs to; there is one within a handler.
func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// farDeadline is a deadline that tap does not refuse a call with: gRPC keeps
// the deadline's timer then.
const farDeadline = time.Minute

// tap makes a call of a stream that begins, and counts it. It runs under a
// lock of the connection, and before the stream has a goroutine: what is too
// much is refused here, where that costs next to nothing.
func (s *Server) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	m := s.methods[info.FullMethodName]
	if m == nil || ctx.Err() != nil {
		return ctx, nil
	}
	c := &call{s: s, m: m, start: time.Now(), request: requestID(info.Header.Get(rpc.MetadataRequest))}
	if p, ok := peer.FromContext(ctx); ok {
		c.conn, c.peer = connOf(p.Addr), p.Addr
	}
	if c.conn != nil {
		c.conn.owe(c.conn.pause(c.start))
	}
	if v := info.Header.Get(rpc.MetadataForwarded); len(v) == 1 && v[0] == "1" {
		ctx = rpc.WithForwarded(ctx)
	}
	c.refused = c.take()
	if c.conn != nil {
		s.queue(c.conn, c.refused != nil)
	}
	if c.refused != nil {
		if end, ok := ctx.Deadline(); !ok || time.Until(end) < farDeadline {
			return ctx, c.told(ctx, c.refused)
		}
	}
	ctx, c.cancel = context.WithCancelCause(ctx)
	if c.counted {
		c.unwatch = context.AfterFunc(ctx, c.abandon)
	}
	return context.WithValue(ctx, callKey{}, c), nil
}

// take counts the call, or says what there is too much of.
func (c *call) take() error {
	if c.conn == nil {
		return nil
	}
	c.room, c.own = &c.s.clients, &c.conn.clients
	if c.m.peers {
		c.room, c.own = &c.s.peers, &c.conn.peers
	}
	switch {
	case c.m.peers && !c.conn.isPeer():
		return errNoNode
	case !c.room.calls.take(c.conn, &c.own.calls):
		return errTooManyCalls
	case !c.room.waiting.take(c.conn, &c.own.waiting):
		c.room.calls.give(c.conn, &c.own.calls)
		return errTooManyWaiting
	}
	c.counted = true
	c.waiting.Store(true)
	c.s.metrics.running.Inc()
	return nil
}

// give gives back what take took.
func (c *call) give() {
	c.arrived()
	if c.counted {
		c.counted = false
		c.room.calls.give(c.conn, &c.own.calls)
		c.s.metrics.running.Dec()
	}
}

// abandon is called when the stream ends. If no handler has the call yet, none
// will do anything for it.
func (c *call) abandon() {
	if c.begun.CompareAndSwap(callNew, callAbandoned) {
		c.give()
	}
}

// These are made once, since a client may be told a thousand times a second.
var (
	errTooManyCalls   = rpc.Status(&api.BusyError{What: "too many calls at a time", RetryAfter: time.Second})
	errTooManyWaiting = rpc.Status(&api.BusyError{What: "too many calls that have not sent anything", RetryAfter: time.Second})
	errNoNode         = rpc.Status(fmt.Errorf("%w: only the nodes of the cluster make that call", api.ErrForbidden))
)

// arrived ends the wait for the first message.
func (c *call) arrived() {
	if !c.waiting.CompareAndSwap(true, false) {
		return
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	c.room.waiting.give(c.conn, &c.own.waiting)
}

// requestID returns an id that may stand in a log, or none.
func requestID(ids []string) string {
	if len(ids) == 0 || len(ids[0]) > rpc.RequestIDBytesMax {
		return ""
	}
	for _, b := range []byte(ids[0]) {
		if b <= ' ' || b > '~' {
			return ""
		}
	}
	return ids[0]
}
