package node

import (
	"context"
	"fmt"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// atHere has f done by this node's logs.
func atHere[T any](ctx context.Context, s *service, f func(*wal.Service) (T, error)) (T, error) {
	logs, err := s.n.here(ctx)
	if err != nil {
		var none T
		return none, err
	}
	return f(logs)
}

// nothing is the answer of a call that has none.
type nothing struct{}

// Create implements api.Service.
func (s *service) Create(ctx context.Context, name string, c api.LogConfig) (api.LogInfo, error) {
	return atHere(ctx, s, func(l *wal.Service) (api.LogInfo, error) { return l.Create(ctx, name, c) })
}

// Lookup implements api.Service.
func (s *service) Lookup(ctx context.Context, name string) (api.LogInfo, error) {
	return atHere(ctx, s, func(l *wal.Service) (api.LogInfo, error) { return l.Lookup(ctx, name) })
}

// Info implements api.Service.
func (s *service) Info(ctx context.Context, log fragment.LogID) (api.LogInfo, error) {
	return atHere(ctx, s, func(l *wal.Service) (api.LogInfo, error) { return l.Info(ctx, log) })
}

// List implements api.Service.
func (s *service) List(ctx context.Context, prefix, after string, limit int) ([]api.LogInfo, error) {
	return atHere(ctx, s, func(l *wal.Service) ([]api.LogInfo, error) { return l.List(ctx, prefix, after, limit) })
}

// Configure implements api.Service.
func (s *service) Configure(ctx context.Context, log fragment.LogID, version uint64, c api.LogConfig) (api.LogInfo, error) {
	return atHere(ctx, s, func(l *wal.Service) (api.LogInfo, error) { return l.Configure(ctx, log, version, c) })
}

// Trim implements api.Service.
func (s *service) Trim(ctx context.Context, log fragment.LogID, before fragment.LSN) error {
	_, err := atHere(ctx, s, func(l *wal.Service) (nothing, error) { return nothing{}, l.Trim(ctx, log, before) })
	return err
}

// Tail implements api.Service.
func (s *service) Tail(ctx context.Context, log fragment.LogID, level api.Level) (fragment.LSN, error) {
	return atHere(ctx, s, func(l *wal.Service) (fragment.LSN, error) { return l.Tail(ctx, log, level) })
}

// TailAge implements server.Aged.
func (s *service) TailAge(ctx context.Context, log fragment.LogID, level api.Level) (tail fragment.LSN, age time.Duration, err error) {
	_, err = atHere(ctx, s, func(l *wal.Service) (_ nothing, err error) {
		tail, age, err = l.TailAge(ctx, log, level)
		return nothing{}, err
	})
	return tail, age, err
}

// Read implements api.Service.
func (s *service) Read(ctx context.Context, r api.ReadRequest) (api.Stream, error) {
	return atHere(ctx, s, func(l *wal.Service) (api.Stream, error) { return l.Read(ctx, r) })
}

// Producer implements api.Service.
func (s *service) Producer(ctx context.Context, log fragment.LogID, name string) (api.ProducerInfo, error) {
	return atHere(ctx, s, func(l *wal.Service) (api.ProducerInfo, error) { return l.Producer(ctx, log, name) })
}

// Producers implements api.Service.
func (s *service) Producers(ctx context.Context, log fragment.LogID, after string, limit int) ([]api.ProducerInfo, error) {
	return atHere(ctx, s, func(l *wal.Service) ([]api.ProducerInfo, error) { return l.Producers(ctx, log, after, limit) })
}

// Limits implements server.Logs.
func (s *service) Limits(log fragment.LogID) (fragment.Limits, error) {
	if logs := s.n.opened(); logs != nil {
		return logs.Limits(log)
	}
	return fragment.Limits{}, fmt.Errorf("%w: %s", api.ErrUnavailable, starting)
}

// Delete implements api.Service. The writer does it, so that it acknowledges
// nothing to a log that is gone.
func (s *service) Delete(ctx context.Context, log fragment.LogID) error {
	_, err := atWriter(ctx, s, log, func(l api.Service) (nothing, error) { return nothing{}, l.Delete(ctx, log) })
	return err
}

// OpenProducer implements api.Service.
func (s *service) OpenProducer(ctx context.Context, r api.OpenRequest) (api.Opened, error) {
	return atWriter(ctx, s, r.Log, func(l api.Service) (api.Opened, error) { return l.OpenProducer(ctx, r) })
}

// Append implements api.Service. A batch that has to wait for something of its
// own log holds up only those of the same log.
func (s *service) Append(ctx context.Context, r api.AppendRequest, done func(api.Ack, error)) error {
	if !s.lanes.hold(r.Log) {
		if tried, err := s.appendNow(ctx, r, done); tried {
			return err
		}
	}
	return s.lanes.put(ctx, r.Log, r.Batch.Len(), func() {
		if err := s.appendWaiting(ctx, r, done); err != nil {
			done(api.Ack{}, err)
		}
	})
}

// appendNow hands a batch over if nothing is to be waited for but room. False:
// something is, and nothing was done.
func (s *service) appendNow(ctx context.Context, r api.AppendRequest, done func(api.Ack, error)) (bool, error) {
	logs := s.n.opened()
	if logs == nil {
		return false, nil
	}
	addr, ok := s.knownWriter(ctx, r.Log)
	if !ok || !s.routes.tryEnter(r.Log, addr) {
		return false, nil
	}
	if addr == "" {
		return logs.AppendNow(ctx, r, done)
	}
	at := s.remotes.connected(addr)
	if at == nil {
		s.routes.leave(r.Log)
		return false, nil
	}
	return s.hand(ctx, at, r, done) == nil, nil
}

// appendWaiting hands a batch over, whatever is to be waited for. Batches of a
// log that are under way to another node are answered before one goes elsewhere,
// so that none overtakes another.
func (s *service) appendWaiting(ctx context.Context, r api.AppendRequest, done func(api.Ack, error)) error {
	logs, err := s.n.here(ctx)
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		addr, err := s.writerOf(ctx, r.Log)
		if err != nil {
			return err
		}
		if err := s.routes.enter(ctx, r.Log, addr); err != nil {
			return err
		}
		if addr == "" {
			err = logs.Append(ctx, r, done)
		} else {
			err = s.forward(ctx, addr, r, done)
		}
		if err == nil {
			return nil
		}
		if err := s.moving(ctx, n, err); err != nil {
			return err
		}
	}
}

// forward hands a batch to another node. Its route was entered.
func (s *service) forward(ctx context.Context, addr string, r api.AppendRequest, done func(api.Ack, error)) error {
	at, err := s.remotes.at(ctx, addr)
	if err != nil {
		s.routes.leave(r.Log)
		return err
	}
	return s.hand(ctx, at, r, done)
}

// hand hands a batch whose route was entered to another node.
func (s *service) hand(ctx context.Context, at api.Service, r api.AppendRequest, done func(api.Ack, error)) error {
	err := at.Append(ctx, r, func(a api.Ack, err error) {
		s.routes.leave(r.Log)
		done(a, err)
	})
	if err != nil {
		s.routes.leave(r.Log)
	}
	return err
}
