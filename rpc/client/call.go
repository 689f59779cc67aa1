package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/wpd-io/wpd/rpc"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// kind is what a call does, as far as it matters for making it again.
type kind int

const (
	harmless kind = iota // twice is as good as once
	changes              // once it was sent, its outcome is unknown
)

// request makes a call on a connection.
type request func(ctx context.Context, c *conn, opts ...grpc.CallOption) error

// call makes a call, and makes it again, for a while, as long as it surely did
// nothing.
func (p *pool) call(ctx context.Context, k kind, f request) error {
	return p.attempt(ctx, anyNode, callTries, func(n *node) error { return n.call(ctx, k, f) })
}

// ask makes a call of one request and one answer, which is zero if there is an
// error.
func ask[C, Q, A any](ctx context.Context, p *pool, k kind, q Q, of func(*conn) C, f func(C, context.Context, Q, ...grpc.CallOption) (A, error)) (A, error) {
	var a, none A
	err := p.call(ctx, k, func(ctx context.Context, c *conn, opts ...grpc.CallOption) (err error) {
		a, err = f(of(c), ctx, q, opts...)
		return err
	})
	if err != nil {
		return none, err
	}
	return a, nil
}

// askLog asks the log service.
func askLog[Q, A any](ctx context.Context, p *pool, k kind, q Q, f func(logv1.LogServiceClient, context.Context, Q, ...grpc.CallOption) (A, error)) (A, error) {
	return ask(ctx, p, k, q, func(c *conn) logv1.LogServiceClient { return c.log }, f)
}

// once makes a call at home. sent says that it may have reached a node.
func (p *pool) once(ctx context.Context, k kind, f request) (sent bool, err error) {
	n, _, err := p.reach(ctx)
	if err != nil {
		return false, err
	}
	return n.once(ctx, k, f)
}

// call makes a call, and says why the node is not reached, if it is not.
func (n *node) call(ctx context.Context, k kind, f request) error {
	sent, err := n.once(ctx, k, f)
	if !sent && errors.Is(err, api.ErrUnavailable) {
		return n.unreached(ctx, err)
	}
	return err
}

// once makes a call. sent says that it may have reached the node.
func (n *node) once(ctx context.Context, k kind, f request) (sent bool, err error) {
	c, err := n.acquire()
	if err != nil {
		return false, err
	}
	defer c.release()
	p := n.pool
	var to peer.Peer // of the connection that the call was given to
	err = f(p.outgoing(ctx, newRequest()), c, grpc.Peer(&to))
	sent = to.Addr != nil
	n.judge(ctx, sent, err)
	err = p.foreign(n, p.meaning(ctx, err, sent && k == changes))
	if sent && ctx.Err() == nil {
		n.says(err)
	}
	return sent, err
}

// judge notes what the outcome of a call says of the node.
func (n *node) judge(ctx context.Context, sent bool, err error) {
	switch {
	case err == nil, n.pool.isClosed():
	case reasonOf(err) == logv1.ErrorReason_ERROR_REASON_CLOSING,
		!sent && ctx.Err() == nil && status.Code(err) == codes.Unavailable:
		n.pool.lost(n)
	}
}

// meaning returns what a failed call means to its caller; open says that it
// may have been done. ctx is the caller's.
func (p *pool) meaning(ctx context.Context, err error, open bool) error {
	if _, ok := errors.AsType[*nonsenseError](err); err == nil || ok {
		return err
	}
	s := status.Convert(err)
	switch {
	case len(s.Details()) > 0 || s.Code() != codes.Canceled && s.Code() != codes.DeadlineExceeded:
	case ctx.Err() != nil:
		err = ctx.Err()
	case s.Code() == codes.Canceled:
		// Not by the caller: the node gave up, or this client is being closed.
		err = status.Error(codes.Unavailable, s.Message())
	}
	if p.isClosed() && ctx.Err() == nil && len(s.Details()) == 0 {
		if open {
			return fmt.Errorf("%w: the client was closed meanwhile", api.ErrUncertain)
		}
		return api.ErrClosed
	}
	return rpc.FromStatus(err, open)
}

// reasonOf returns what the node itself gave as the reason of a failed call.
func reasonOf(err error) logv1.ErrorReason {
	for _, d := range status.Convert(err).Details() {
		if e, ok := d.(*logv1.Error); ok {
			return e.GetReason()
		}
	}
	return logv1.ErrorReason_ERROR_REASON_UNSPECIFIED
}

const (
	// retryPauseMin is the pause before the first retry; it doubles with each,
	// up to retryPauseMax. Each is a random half to all of it.
	retryPauseMin = 50 * time.Millisecond
	retryPauseMax = 2 * time.Second
)

// pauses are those between the tries of something. The zero value begins.
type pauses struct{ last, most time.Duration } // most 0: retryPauseMax

// wait waits as long as it is due, or as the node that gave err asks for; it
// returns false if ctx ends first.
func (p *pauses) wait(ctx context.Context, err error) bool {
	p.last = min(max(retryPauseMin, 2*p.last), cmp.Or(p.most, retryPauseMax))
	d := p.last/2 + rand.N(p.last/2)
	if busy, ok := errors.AsType[*api.BusyError](err); ok {
		d = min(max(d, busy.RetryAfter), retryPauseMax)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
