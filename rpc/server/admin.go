package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"

	"github.com/wpd-io/wpd/rpc"
	adminv1 "github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/wal/api"
)

const (
	// objectsMax bounds the objects that are in memory to be sent, of at most
	// 16 MiB each.
	objectsMax = 4
	// objectPieceBytes is the most that one message has of an object.
	objectPieceBytes = 64 << 10
	// keyBytesMax is more than any store allows a key to have.
	keyBytesMax = 1024
	// progressEvery is how often a verification says how far it is.
	progressEvery = 200 * time.Millisecond
)

// The bounds of the interval of WatchStats, as admin.proto has them.
const (
	watchEvery    = time.Second // the default
	watchEveryMin = 100 * time.Millisecond
	watchEveryMax = time.Hour
)

// adminService is wpd.admin.v1.AdminService.
type adminService struct {
	adminv1.UnimplementedAdminServiceServer
	s       *Server
	objects *semaphore.Weighted
	heavy   sync.Mutex // held by what keeps the bucket busy
}

func newAdminService(s *Server) *adminService {
	return &adminService{s: s, objects: semaphore.NewWeighted(objectsMax)}
}

func (a *adminService) admin() Admin { return a.s.cfg.Admin }

// untilDrain returns a context that ends with ctx, or when the server drains.
func (a *adminService) untilDrain(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(a.s.drained, func() { cancel(fmt.Errorf("this node is about to stop: %w", api.ErrClosed)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// endOf is err, or why a context of untilDrain ended.
func endOf(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// exclusive runs f, unless the bucket is kept busy already.
func (a *adminService) exclusive(ctx context.Context, f func(ctx context.Context) error) error {
	if !a.heavy.TryLock() {
		return &api.BusyError{What: "the node verifies or measures its bucket for somebody else", RetryAfter: time.Second}
	}
	defer a.heavy.Unlock()
	ctx, cancel := a.untilDrain(ctx)
	defer cancel()
	return endOf(ctx, f(ctx))
}

func (a *adminService) GetStatus(ctx context.Context, _ *adminv1.GetStatusRequest) (*adminv1.GetStatusResponse, error) {
	return a.admin().Status(ctx)
}

func (a *adminService) GetConfig(context.Context, *adminv1.GetConfigRequest) (*adminv1.GetConfigResponse, error) {
	return &adminv1.GetConfigResponse{Settings: a.admin().Settings()}, nil
}

func (a *adminService) SetLogLevel(_ context.Context, r *adminv1.SetLogLevelRequest) (*adminv1.SetLogLevelResponse, error) {
	levels := []string{"debug", "info", "warn", "error"}
	if !slices.Contains(levels, r.GetLevel()) {
		return nil, fmt.Errorf("%w: log level %q, want one of %s", api.ErrInvalid, r.GetLevel(), strings.Join(levels, ", "))
	}
	previous, err := a.admin().SetLogLevel(r.GetLevel())
	return &adminv1.SetLogLevelResponse{Previous: previous}, err
}

func (a *adminService) WatchStats(r *adminv1.WatchStatsRequest, stream adminv1.AdminService_WatchStatsServer) error {
	every := watchEvery
	if us := r.GetIntervalMicros(); us != 0 {
		if us < uint64(watchEveryMin.Microseconds()) || us > uint64(watchEveryMax.Microseconds()) {
			return fmt.Errorf("%w: an interval of %d µs, want %v to %v", api.ErrInvalid, us, watchEveryMin, watchEveryMax)
		}
		every = time.Duration(us) * time.Microsecond
	}
	ctx, cancel := a.untilDrain(stream.Context())
	defer cancel()
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for {
		if err := stream.Send(&adminv1.WatchStatsResponse{Stats: a.admin().Stats()}); err != nil {
			return err
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (a *adminService) ReadObject(r *adminv1.ReadObjectRequest, stream adminv1.AdminService_ReadObjectServer) error {
	key := r.GetKey()
	if len(key) > keyBytesMax {
		return &api.LimitError{What: "bytes of an object's key", Limit: keyBytesMax, Value: uint64(len(key))}
	}
	if !fs.ValidPath(key) || key == "." {
		return fmt.Errorf("%w: %q is no key of an object", api.ErrInvalid, key)
	}
	ctx, cancel := a.untilDrain(stream.Context())
	defer cancel()
	if err := a.objects.Acquire(ctx, 1); err != nil {
		return endOf(ctx, err)
	}
	defer a.objects.Release(1)
	object, err := a.admin().ReadObject(ctx, key)
	if err != nil {
		return endOf(ctx, err)
	}
	first := true
	for piece := range slices.Chunk(object, objectPieceBytes) {
		m := &adminv1.ReadObjectResponse{Data: piece}
		if first {
			m.Size = uint64(len(object))
		}
		if err := a.sendSoon(ctx, stream, m); err != nil {
			return endOf(ctx, err)
		}
		first = false
	}
	if first {
		return stream.Send(&adminv1.ReadObjectResponse{}) // an empty object
	}
	return nil
}

// sendSoon sends a message, and ends the call if the client does not take it
// within StallTimeout, or until the server drains.
func (a *adminService) sendSoon(ctx context.Context, stream grpc.ServerStream, m any) error {
	c, most := callOf(stream.Context()), a.s.cfg.Limits.StallTimeout
	ctx, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("%w: the answer was not read within %v", api.ErrInvalid, most))
	defer cancel()
	defer context.AfterFunc(ctx, func() { c.cancel(context.Cause(ctx)) })()
	return stream.SendMsg(m)
}

func (a *adminService) Verify(_ *adminv1.VerifyRequest, stream adminv1.AdminService_VerifyServer) error {
	return a.exclusive(stream.Context(), func(ctx context.Context) error {
		p := progress{a: a, ctx: ctx, stream: stream}
		report, err := a.admin().Verify(ctx, p.tell)
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case p.err != nil:
			return p.err
		case err != nil:
			return err
		case len(report) >= rpc.MessageBytesMax:
			return &api.LimitError{What: "bytes of a report", Limit: rpc.MessageBytesMax - 1, Value: uint64(len(report))}
		}
		return a.sendSoon(ctx, stream, &adminv1.VerifyResponse{Kind: &adminv1.VerifyResponse_Report{Report: report}})
	})
}

// progress tells a client how far a verification is, now and then.
type progress struct {
	a      *adminService
	ctx    context.Context
	stream grpc.ServerStream

	mu   sync.Mutex
	last time.Time
	err  error
}

func (p *progress) tell(objects, bytes uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || time.Since(p.last) < progressEvery {
		return
	}
	p.last = time.Now()
	p.err = p.a.sendSoon(p.ctx, p.stream, &adminv1.VerifyResponse{Kind: &adminv1.VerifyResponse_Progress{
		Progress: &adminv1.VerifyProgress{Objects: objects, Bytes: bytes},
	}})
}

// MeasureRaw measures as long as the client sends requests. It receives while it
// measures, so that a client which wants no more need not wait for that.
func (a *adminService) MeasureRaw(stream adminv1.AdminService_MeasureRawServer) error {
	ctx, cancel := a.untilDrain(stream.Context())
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	requests := make(chan *adminv1.MeasureRawRequest)
	a.s.receivers.Go(func() {
		for {
			r, err := stream.Recv()
			if err != nil {
				end(err) // io.EOF: there are no more
				return
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	})
	err := a.measure(ctx, stream, requests)
	if cause := context.Cause(ctx); errors.Is(cause, io.EOF) {
		return nil
	}
	return endOf(ctx, err)
}

// measure measures until ctx ends.
func (a *adminService) measure(ctx context.Context, stream adminv1.AdminService_MeasureRawServer, requests <-chan *adminv1.MeasureRawRequest) error {
	var m Measuring
	defer func() {
		if m != nil {
			m.End()
		}
	}()
	for {
		var r *adminv1.MeasureRawRequest
		select {
		case r = <-requests:
		case <-ctx.Done():
			return ctx.Err()
		}
		if m == nil {
			var err error
			if m, err = a.admin().MeasureRaw(ctx); err != nil {
				return err
			}
		}
		var answer *adminv1.MeasureRawResponse
		if err := a.exclusive(ctx, func(ctx context.Context) (err error) {
			answer, err = m.Measure(ctx, r)
			return err
		}); err != nil {
			return err
		}
		if err := a.sendSoon(ctx, stream, answer); err != nil {
			return err
		}
	}
}
