package client

import (
	"context"
	"math"
	"time"

	"google.golang.org/grpc"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// Create implements api.Service.
func (s *Service) Create(ctx context.Context, name string, c api.LogConfig) (api.LogInfo, error) {
	q := &logv1.CreateLogRequest{Name: name, Config: rpc.ConfigTo(c)}
	a, err := askLog(ctx, s.pool, changes, q, logv1.LogServiceClient.CreateLog)
	return s.logOf(a.GetLog(), err)
}

// logOf reads the log of an answer.
func (s *Service) logOf(m *logv1.Log, err error) (api.LogInfo, error) {
	if err != nil {
		return api.LogInfo{}, err
	}
	l := rpc.LogFrom(m)
	if l.ID == 0 || l.First == 0 || l.Tail < l.First {
		return api.LogInfo{}, nonsense("log %d with LSNs [%d, %d)", l.ID, l.First, l.Tail)
	}
	if n := s.pool.home.Load(); n != nil {
		s.pool.routes.learn(n, l.ID, m.GetWriterAddr(), false)
	}
	return l, nil
}

// Lookup implements api.Service.
func (s *Service) Lookup(ctx context.Context, name string) (api.LogInfo, error) {
	q := &logv1.GetLogRequest{Log: &logv1.GetLogRequest_Name{Name: name}}
	a, err := askLog(ctx, s.pool, harmless, q, logv1.LogServiceClient.GetLog)
	return s.logOf(a.GetLog(), err)
}

// Info implements api.Service.
func (s *Service) Info(ctx context.Context, log fragment.LogID) (api.LogInfo, error) {
	q := &logv1.GetLogRequest{Log: &logv1.GetLogRequest_Id{Id: uint64(log)}}
	a, err := askLog(ctx, s.pool, harmless, q, logv1.LogServiceClient.GetLog)
	return s.logOf(a.GetLog(), err)
}

// List implements api.Service.
func (s *Service) List(ctx context.Context, prefix, after string, limit int) ([]api.LogInfo, error) {
	q := &logv1.ListLogsRequest{Prefix: prefix, After: after, Limit: pageOf(limit)}
	a, err := askLog(ctx, s.pool, harmless, q, logv1.LogServiceClient.ListLogs)
	var all []api.LogInfo
	for _, m := range a.GetLogs() {
		l, err := s.logOf(m, nil)
		if err == nil && l.Name <= after {
			err = nonsense("log %q comes after %q", l.Name, after)
		}
		if err != nil {
			return nil, err
		}
		after = l.Name
		all = append(all, l)
	}
	return all, err
}

func pageOf(limit int) uint32 { return uint32(min(max(limit, 0), math.MaxInt32)) }

// Delete implements api.Service.
func (s *Service) Delete(ctx context.Context, log fragment.LogID) error {
	_, err := askLog(ctx, s.pool, changes, &logv1.DeleteLogRequest{LogId: uint64(log)}, logv1.LogServiceClient.DeleteLog)
	return err
}

// Configure implements api.Service.
func (s *Service) Configure(ctx context.Context, log fragment.LogID, version uint64, c api.LogConfig) (api.LogInfo, error) {
	q := &logv1.ConfigureLogRequest{LogId: uint64(log), ConfigVersion: version, Config: rpc.ConfigTo(c)}
	a, err := askLog(ctx, s.pool, changes, q, logv1.LogServiceClient.ConfigureLog)
	return s.logOf(a.GetLog(), err)
}

// Trim implements api.Service. Trimming twice is trimming once.
func (s *Service) Trim(ctx context.Context, log fragment.LogID, before fragment.LSN) error {
	q := &logv1.TrimLogRequest{LogId: uint64(log), BeforeLsn: uint64(before)}
	_, err := askLog(ctx, s.pool, harmless, q, logv1.LogServiceClient.TrimLog)
	return err
}

// Tail implements api.Service.
func (s *Service) Tail(ctx context.Context, log fragment.LogID, level api.Level) (fragment.LSN, error) {
	tail, _, err := s.TailAge(ctx, log, level)
	return tail, err
}

// TailAge is Tail, and says how old the answer may be.
func (s *Service) TailAge(ctx context.Context, log fragment.LogID, level api.Level) (fragment.LSN, time.Duration, error) {
	q := &logv1.GetTailRequest{LogId: uint64(log), Level: rpc.LevelTo(level)}
	a, err := askLog(ctx, s.pool, harmless, q, logv1.LogServiceClient.GetTail)
	return fragment.LSN(a.GetTailLsn()), rpc.DurationFrom(a.GetAgeMicros()), err
}

// askWriter asks the log service of the node that writes a log, if that is
// known.
func askWriter[Q, A any](ctx context.Context, s *Service, log fragment.LogID, tries int, q Q, f func(logv1.LogServiceClient, context.Context, Q, ...grpc.CallOption) (A, error)) (a A, n *node, err error) {
	err = s.pool.attempt(ctx, log, tries, func(at *node) error {
		n = at
		return at.call(ctx, harmless, func(ctx context.Context, c *conn, opts ...grpc.CallOption) (err error) {
			a, err = f(c.log, ctx, q, opts...)
			return err
		})
	})
	if err != nil {
		var none A
		return none, nil, err
	}
	return a, n, nil
}

// OpenProducer implements api.Service. To open once more what may be open is
// harmless, unless it is to a certain epoch: then a second call would come
// upon the first one as upon a rival. Either way nothing is taken by it, so
// that a broken connection is ErrUnavailable.
func (s *Service) OpenProducer(ctx context.Context, r api.OpenRequest) (api.Opened, error) {
	tries := callTries
	if r.Epoch != 0 {
		tries = 1
	}
	a, n, err := askWriter(ctx, s, r.Log, tries, rpc.OpenTo(r), logv1.LogServiceClient.OpenProducer)
	if err != nil {
		return api.Opened{}, err
	}
	o := rpc.OpenedFrom(a)
	if o.ID == 0 || o.Epoch == 0 {
		return api.Opened{}, nonsense("it opens producer %d under epoch %d", o.ID, o.Epoch)
	}
	s.pool.routes.learn(n, r.Log, a.GetWriterAddr(), true)
	return o, nil
}

// Producer implements api.Service.
func (s *Service) Producer(ctx context.Context, log fragment.LogID, name string) (api.ProducerInfo, error) {
	q := &logv1.GetProducerRequest{LogId: uint64(log), Name: name}
	a, _, err := askWriter(ctx, s, log, callTries, q, logv1.LogServiceClient.GetProducer)
	return rpc.ProducerFrom(a.GetProducer()), err
}

// Producers implements api.Service.
func (s *Service) Producers(ctx context.Context, log fragment.LogID, after string, limit int) ([]api.ProducerInfo, error) {
	q := &logv1.ListProducersRequest{LogId: uint64(log), After: after, Limit: pageOf(limit)}
	a, _, err := askWriter(ctx, s, log, callTries, q, logv1.LogServiceClient.ListProducers)
	var all []api.ProducerInfo
	for _, m := range a.GetProducers() {
		p := rpc.ProducerFrom(m)
		if p.Name <= after {
			return nil, nonsense("producer %q comes after %q", p.Name, after)
		}
		after = p.Name
		all = append(all, p)
	}
	return all, err
}
