package client

import (
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

const (
	// callTries is how often a call is made at most: what is still unavailable
	// after the pauses between, about a second and a half, is told the caller.
	callTries = 6
	// retryPauseMin is the pause before the first retry; it doubles with each,
	// up to retryPauseMax. Each is a random half to all of it.
	retryPauseMin = 50 * time.Millisecond
	retryPauseMax = 2 * time.Second
)

// kind is what a call does, as far as it matters for making it again.
type kind int

const (
	harmless kind = iota // twice is as good as once
	changes              // once it was sent, its outcome is unknown
)

// call makes a call, and makes it again, for a while, as long as it surely did
// nothing.
func (p *pool) call(ctx context.Context, k kind, f func(ctx context.Context, c *conn, opts ...grpc.CallOption) error) error {
	return retry(ctx, func() error {
		sent, err := p.once(ctx, k, f)
		if !sent && errors.Is(err, api.ErrUnavailable) {
			return p.unreachable(ctx, err)
		}
		return err
	})
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

// once makes a call. sent says that it may have reached a node.
func (p *pool) once(ctx context.Context, k kind, f func(ctx context.Context, c *conn, opts ...grpc.CallOption) error) (sent bool, err error) {
	c, err := p.acquire()
	if err != nil {
		return false, err
	}
	defer p.release(c)
	var to peer.Peer // of the connection that the call was given to
	err = f(p.outgoing(ctx, newRequest()), c, grpc.Peer(&to))
	sent = to.Addr != nil
	return sent, p.meaning(ctx, err, sent && k == changes)
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

// retry does f until it succeeds, or fails other than with ErrUnavailable, or
// ctx ends, callTries times at most.
func retry(ctx context.Context, f func() error) error {
	pause := pauses{}
	for try := 1; ; try++ {
		err := f()
		switch {
		case !errors.Is(err, api.ErrUnavailable), try == callTries:
			return err
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return err
		case !pause.wait(ctx, err):
			return fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// pauses are those between the tries of something. The zero value begins.
type pauses struct{ last time.Duration }

// wait waits as long as it is due, or as the node that gave err asks for; it
// returns false if ctx ends first.
func (p *pauses) wait(ctx context.Context, err error) bool {
	p.last = min(max(retryPauseMin, 2*p.last), retryPauseMax)
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
