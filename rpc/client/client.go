package client

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"

	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// Service is the log service of a cluster, reached over the network. It
// implements api.Service; beside the errors that are named there, every call
// may return ErrUnavailable (nobody answers; tried several times), and one
// that changes something ErrUncertain (the connection broke after it was
// sent). Safe for concurrent use.
type Service struct {
	pool    *pool
	appends *appends

	once sync.Once
	err  error
}

var _ api.Service = (*Service)(nil)

// Dial connects to a cluster, and asks who answers. ctx bounds that. Errors:
// ErrInvalid (an address); ErrUnavailable (nobody answers; it names each
// address, and why).
func Dial(ctx context.Context, c Config) (*Service, error) {
	p, err := dial(ctx, c)
	if err != nil {
		return nil, err
	}
	return &Service{pool: p, appends: newAppends(p)}, nil
}

// dial makes a pool that knows its cluster.
func dial(ctx context.Context, c Config) (*pool, error) {
	p, err := newPool(c)
	if err != nil {
		return nil, err
	}
	hello, err := p.hello(ctx)
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.cluster = hello.GetClusterId()
	return p, nil
}

// hello asks who answers. Where nobody does, it tries each address once: who
// wants to wait for a node says so by calling again.
func (p *pool) hello(ctx context.Context) (hello *logv1.HelloResponse, err error) {
	pause := pauses{}
	for try := 1; ; try++ {
		reached, err := p.once(ctx, harmless, func(ctx context.Context, c *conn, opts ...grpc.CallOption) (err error) {
			hello, err = c.log.Hello(ctx, &logv1.HelloRequest{}, opts...)
			return err
		})
		switch {
		case err == nil && hello.GetClusterId() == "":
			return nil, nonsense("it does not say what its cluster is")
		case err == nil:
			return hello, nil
		case !errors.Is(err, api.ErrUnavailable):
			return nil, err
		case !reached:
			return nil, p.unreachable(ctx, err)
		case try == callTries, !pause.wait(ctx, err):
			return nil, err
		}
	}
}

// Close ends all calls, streams and appends. A batch that was handed over and
// is not answered is ErrUncertain, one that was not is ErrClosed. Idempotent.
func (s *Service) Close() error {
	s.once.Do(func() { s.err = s.pool.close() })
	return s.err
}
