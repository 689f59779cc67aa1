package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/wal/api"
)

// unary makes a handler of a generated one: the call is admitted before its
// request is received, and its outcome is told in our terms.
func (s *Server) unary(handle grpc.MethodHandler) grpc.MethodHandler {
	return func(impl any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (_ any, err error) {
		c := callOf(ctx)
		defer func() { err = c.end(ctx, err, recover()) }()
		if err := c.begin(ctx); err != nil {
			return nil, err
		}
		return handle(impl, ctx, func(v any) error { return c.receive(decode, v) }, nil)
	}
}

// streaming is unary for streams.
func (s *Server) streaming(handle grpc.StreamHandler) grpc.StreamHandler {
	return func(impl any, stream grpc.ServerStream) (err error) {
		ctx := stream.Context()
		c := callOf(ctx)
		defer func() { err = c.end(ctx, err, recover()) }()
		if err := c.begin(ctx); err != nil {
			return err
		}
		if c.m.foreign {
			defer context.AfterFunc(c.s.closing, func() { c.cancel(api.ErrClosed) })()
		}
		return handle(impl, &callStream{stream, c})
	}
}

// callStream is the stream of a call.
type callStream struct {
	grpc.ServerStream
	call *call
}

// RecvMsg implements grpc.ServerStream.
func (x *callStream) RecvMsg(v any) error { return x.call.receive(x.ServerStream.RecvMsg, v) }

// SendMsg implements grpc.ServerStream.
func (x *callStream) SendMsg(v any) error {
	err := x.ServerStream.SendMsg(v)
	if err == nil {
		x.call.answered.Store(true)
	}
	return err
}

// begin lets the call in, or says why not.
func (c *call) begin(ctx context.Context) error {
	if c.refused == nil {
		c.refused = c.mayBegin(ctx)
	}
	if c.refused != nil {
		return c.refused
	}
	if c.m.oneRequest && c.waiting.Load() {
		most := c.s.cfg.Limits.StallTimeout
		c.timer = time.AfterFunc(most, func() {
			c.cancel(fmt.Errorf("%w: the request did not come within %v", api.ErrInvalid, most))
		})
	}
	return nil
}

func (c *call) mayBegin(ctx context.Context) error {
	if !c.begun.CompareAndSwap(callNew, callBegun) {
		return ctx.Err() // the client was faster
	}
	md, _ := metadata.FromIncomingContext(ctx)
	for _, cluster := range md.Get(rpc.MetadataCluster) {
		if cluster != c.s.cfg.ClusterID {
			return &api.WrongClusterError{Have: c.s.cfg.ClusterID}
		}
	}
	if c.s.drained.Err() != nil && !c.m.always {
		return fmt.Errorf("this node is about to stop: %w", api.ErrClosed)
	}
	return nil
}

// receive receives a message of the call.
func (c *call) receive(receive func(any) error, v any) error {
	if f, ok := v.(*rpc.AppendFrame); ok {
		err := receive(f) // which is decoded later
		c.arrived()
		return err
	}
	in := received{message: v}
	err := receive(&in)
	c.arrived()
	if err == nil && in.err != nil {
		return fmt.Errorf("%w: malformed message: %w", api.ErrInvalid, in.err)
	}
	return err
}

// end settles what the call had, and puts its outcome into gRPC's terms.
func (c *call) end(ctx context.Context, err error, panicked any) error {
	if c.unwatch != nil {
		c.unwatch()
	}
	if c.begun.Load() != callAbandoned {
		c.give()
	}
	switch cause := context.Cause(ctx); {
	case panicked != nil:
		err = c.s.panicked(panicked)
	case err != nil && cause != nil && ctx.Err() == context.Canceled && !errors.Is(cause, context.Canceled):
		err = cause // we ended it ourselves
	case cause != nil && errors.Is(cause, context.Canceled):
		c.takenBack()
	}
	return c.told(ctx, err)
}

// told returns the outcome of the call as the client is told it.
func (c *call) told(ctx context.Context, err error) error {
	answer := rpc.Status(err)
	code := status.Code(answer)
	c.s.metrics.calls.WithLabelValues(c.m.label, code.String()).Inc()
	c.log(ctx, code, err)
	return answer
}

// takenBack counts a call that its client does not want any more.
func (c *call) takenBack() {
	if c.conn == nil || !c.conn.reset(time.Now(), c.answered.Load()) {
		return
	}
	if skipped, ok := c.s.logResets.now(); ok {
		c.s.cfg.Logger.Warn("closed a connection that takes back its calls", "peer", c.from(),
			"limit", c.s.cfg.Limits.Resets, "closed_since", skipped)
	}
	_ = c.conn.Close() // its reader finds out
}

func (c *call) log(ctx context.Context, code codes.Code, err error) {
	log, level, skipped, ok := c.s.cfg.Logger, slog.LevelDebug, 0, true
	switch {
	case code == codes.Internal:
		level = slog.LevelError
		skipped, ok = c.s.logErrors.now()
	case c.refused != nil || code == codes.ResourceExhausted:
		level = slog.LevelInfo
		skipped, ok = c.s.logRefused.now()
	}
	if !ok {
		level = slog.LevelDebug
	}
	if !log.Enabled(ctx, level) {
		return
	}
	a := []any{"method", c.m.label, "request", c.request, "peer", c.from(), "code", code.String(), "took", time.Since(c.start)}
	if err != nil {
		a = append(a, "err", err)
	}
	if skipped > 0 {
		a = append(a, "not_logged_since", skipped)
	}
	log.Log(ctx, level, "call", a...)
}

// panicked is what becomes of a panic: the log has it, the client does not.
func (s *Server) panicked(p any) error {
	s.cfg.Logger.Error("panic in a call", "panic", p, "stack", string(debug.Stack()))
	return fmt.Errorf("panic: %v", p)
}
