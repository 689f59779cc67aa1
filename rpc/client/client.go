package client

import (
	"context"
	"errors"
	"sync"

	"github.com/wpd-io/wpd/wal/api"
)

// Service is the log service of a cluster, reached over the network. It
// implements api.Service; beside the errors that are named there, every call
// may return ErrUnavailable (nobody answers; tried several times), and one
// that changes something ErrUncertain (the connection broke after it was
// sent). Safe for concurrent use.
type Service struct {
	pool *pool

	once sync.Once
	err  error
}

var _ api.Service = (*Service)(nil)

// Dial connects to a cluster, and asks who answers. ctx bounds that. Errors:
// ErrInvalid (an address); ErrUnavailable (nobody answers; it names each
// address, and why); *WrongClusterError.
func Dial(ctx context.Context, c Config) (*Service, error) {
	p, err := dial(ctx, c, !c.Forwarded)
	if err != nil {
		return nil, err
	}
	return &Service{pool: p}, nil
}

// dial makes a pool that has a home. With follows, it goes to other nodes than
// those of c, too. Where nobody answers, it tries each address once: who wants
// to wait for a node says so by calling again.
func dial(ctx context.Context, c Config, follows bool) (*pool, error) {
	p, err := newPool(c)
	if err != nil {
		return nil, err
	}
	p.follows = follows
	pause := pauses{}
	for try := 1; ; try++ {
		_, reached, err := p.reach(ctx)
		switch {
		case err == nil:
			return p, nil
		case !reached, !errors.Is(err, api.ErrUnavailable), try == callTries, !pause.wait(ctx, err):
			return nil, errors.Join(err, p.close())
		}
	}
}

// Close ends all calls, streams and appends. A batch that was handed over and
// is not answered is ErrUncertain, one that was not is ErrClosed. Idempotent.
func (s *Service) Close() error {
	s.once.Do(func() { s.err = s.pool.close() })
	return s.err
}
