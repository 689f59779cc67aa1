package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	adminv1 "github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// objectBytesMax is the largest object that ReadObject takes: far more than any
// that a node makes.
const objectBytesMax = 256 << 20

// Admin is the side of a node that is for who runs it. Errors are those of
// wal/api; every call may return ErrUnavailable. Safe for concurrent use.
type Admin struct {
	pool *pool

	once sync.Once
	err  error
}

// DialAdmin connects to a node as Dial does.
func DialAdmin(ctx context.Context, c Config) (*Admin, error) {
	p, err := dial(ctx, c, false)
	if err != nil {
		return nil, err
	}
	return &Admin{pool: p}, nil
}

// Close ends all calls. Idempotent.
func (a *Admin) Close() error {
	a.once.Do(func() { a.err = a.pool.close() })
	return a.err
}

// askAdmin makes a call of one request and one answer.
func askAdmin[Q, A any](ctx context.Context, a *Admin, k kind, q Q, f func(adminv1.AdminServiceClient, context.Context, Q, ...grpc.CallOption) (A, error)) (A, error) {
	return ask(ctx, a.pool, k, q, func(c *conn) adminv1.AdminServiceClient { return c.admin }, f)
}

// Hello asks who answers.
func (a *Admin) Hello(ctx context.Context) (*logv1.HelloResponse, error) {
	return askLog(ctx, a.pool, harmless, &logv1.HelloRequest{}, logv1.LogServiceClient.Hello)
}

// Health asks whether the node serves. Errors: ErrUnavailable (it does not, or
// does not answer).
func (a *Admin) Health(ctx context.Context) error {
	_, err := a.pool.once(ctx, harmless, func(ctx context.Context, c *conn, opts ...grpc.CallOption) error {
		h, err := healthv1.NewHealthClient(c).Check(ctx, &healthv1.HealthCheckRequest{}, opts...)
		if err == nil && h.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			err = fmt.Errorf("%w: the node is %s", api.ErrUnavailable, h.GetStatus())
		}
		return err
	})
	return err
}

// Status tells what the node is and how it is.
func (a *Admin) Status(ctx context.Context) (*adminv1.GetStatusResponse, error) {
	return askAdmin(ctx, a, harmless, &adminv1.GetStatusRequest{}, adminv1.AdminServiceClient.GetStatus)
}

// Config returns every effective setting of the node.
func (a *Admin) Config(ctx context.Context) ([]*adminv1.Setting, error) {
	r, err := askAdmin(ctx, a, harmless, &adminv1.GetConfigRequest{}, adminv1.AdminServiceClient.GetConfig)
	return r.GetSettings(), err
}

// SetLogLevel changes what the node logs (debug, info, warn, error), until it
// stops, and returns the level before. Errors: ErrInvalid.
func (a *Admin) SetLogLevel(ctx context.Context, level string) (previous string, err error) {
	r, err := askAdmin(ctx, a, changes, &adminv1.SetLogLevelRequest{Level: level}, adminv1.AdminServiceClient.SetLogLevel)
	return r.GetPrevious(), err
}

// WatchStats gives the node's counters now and at each interval, 100 ms to an
// hour, 0 for a second, until the loop or ctx ends, or there is an error, which
// comes last: ErrUnavailable if the connection broke.
func (a *Admin) WatchStats(ctx context.Context, interval time.Duration) iter.Seq2[*adminv1.Stats, error] {
	q := &adminv1.WatchStatsRequest{IntervalMicros: uint64(max(interval.Microseconds(), 0))}
	return func(yield func(*adminv1.Stats, error) bool) {
		more := true
		err := receive(ctx, a, q, adminv1.AdminServiceClient.WatchStats, func(m *adminv1.WatchStatsResponse) error {
			if more = yield(m.GetStats(), nil); !more {
				return io.EOF
			}
			return nil
		})
		if more && err != nil {
			yield(nil, err)
		}
	}
}

// ReadObject returns an object of the node's bucket. Errors: ErrNotFound.
func (a *Admin) ReadObject(ctx context.Context, key string) ([]byte, error) {
	var b []byte
	var size uint64
	err := receive(ctx, a, &adminv1.ReadObjectRequest{Key: key}, adminv1.AdminServiceClient.ReadObject, func(m *adminv1.ReadObjectResponse) error {
		size = max(size, m.GetSize())
		if b = append(b, m.GetData()...); size > objectBytesMax || uint64(len(b)) > size {
			return nonsense("%d bytes of an object of %d", len(b), size)
		}
		return nil
	})
	if err == nil && uint64(len(b)) != size {
		err = nonsense("%d bytes of an object of %d", len(b), size)
	}
	if err != nil {
		return nil, fmt.Errorf("read object %s: %w", key, err)
	}
	return b, nil
}

// Verify reads the node's whole bucket, and returns the report, a JSON object.
// progress hears how far it has got; it may be nil.
func (a *Admin) Verify(ctx context.Context, progress func(objects, bytes uint64)) (report []byte, err error) {
	err = receive(ctx, a, &adminv1.VerifyRequest{}, adminv1.AdminServiceClient.Verify, func(m *adminv1.VerifyResponse) error {
		if p := m.GetProgress(); p != nil && progress != nil {
			progress(p.GetObjects(), p.GetBytes())
		}
		if r := m.GetReport(); r != nil {
			report = r
		}
		return nil
	})
	if err == nil && report == nil {
		err = nonsense("it verified, and has no report")
	}
	if err != nil {
		return nil, err
	}
	return report, nil
}

// receive makes a call that is answered by a stream, and passes on what comes
// until the end, or until take returns an error; io.EOF only ends it.
func receive[Q, M any](ctx context.Context, a *Admin, q Q, call func(adminv1.AdminServiceClient, context.Context, Q, ...grpc.CallOption) (grpc.ServerStreamingClient[M], error), take func(*M) error) error {
	return receiveFrom(ctx, a, q, func(c *conn) adminv1.AdminServiceClient { return c.admin }, call, take)
}

// receiveFrom is receive, from any service of a node.
func receiveFrom[C, Q, M any](ctx context.Context, a *Admin, q Q, of func(*conn) C, call func(C, context.Context, Q, ...grpc.CallOption) (grpc.ServerStreamingClient[M], error), take func(*M) error) error {
	// The options of a call are not for a stream that is left before its end:
	// they are set when gRPC notices that, which nobody waits for.
	_, err := a.pool.once(ctx, harmless, func(ctx context.Context, c *conn, _ ...grpc.CallOption) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s, err := call(of(c), ctx, q)
		for err == nil {
			var m *M
			if m, err = s.Recv(); err == nil {
				err = take(m)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	})
	return err
}
