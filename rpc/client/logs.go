package client

import (
	"context"
	"math"

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
	return logOf(a.GetLog(), err)
}

// logOf reads the log of an answer.
func logOf(m *logv1.Log, err error) (api.LogInfo, error) {
	if err != nil {
		return api.LogInfo{}, err
	}
	l := rpc.LogFrom(m)
	if l.ID == 0 || l.First == 0 || l.Tail < l.First {
		return api.LogInfo{}, nonsense("log %d with LSNs [%d, %d)", l.ID, l.First, l.Tail)
	}
	return l, nil
}

// Lookup implements api.Service.
func (s *Service) Lookup(ctx context.Context, name string) (api.LogInfo, error) {
	q := &logv1.GetLogRequest{Log: &logv1.GetLogRequest_Name{Name: name}}
	a, err := askLog(ctx, s.pool, harmless, q, logv1.LogServiceClient.GetLog)
	return logOf(a.GetLog(), err)
}

// Info implements api.Service.
func (s *Service) Info(ctx context.Context, log fragment.LogID) (api.LogInfo, error) {
	q := &logv1.GetLogRequest{Log: &logv1.GetLogRequest_Id{Id: uint64(log)}}
	a, err := askLog(ctx, s.pool, harmless, q, logv1.LogServiceClient.GetLog)
	return logOf(a.GetLog(), err)
}

// List implements api.Service.
func (s *Service) List(ctx context.Context, prefix, after string, limit int) ([]api.LogInfo, error) {
	q := &logv1.ListLogsRequest{Prefix: prefix, After: after, Limit: pageOf(limit)}
	a, err := askLog(ctx, s.pool, harmless, q, logv1.LogServiceClient.ListLogs)
	var all []api.LogInfo
	for _, m := range a.GetLogs() {
		l, err := logOf(m, nil)
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
	return logOf(a.GetLog(), err)
}

// Trim implements api.Service. Trimming twice is trimming once.
func (s *Service) Trim(ctx context.Context, log fragment.LogID, before fragment.LSN) error {
	q := &logv1.TrimLogRequest{LogId: uint64(log), BeforeLsn: uint64(before)}
	_, err := askLog(ctx, s.pool, harmless, q, logv1.LogServiceClient.TrimLog)
	return err
}

// Tail implements api.Service.
func (s *Service) Tail(ctx context.Context, log fragment.LogID, level api.Level) (fragment.LSN, error) {
	q := &logv1.GetTailRequest{LogId: uint64(log), Level: rpc.LevelTo(level)}
	a, err := askLog(ctx, s.pool, harmless, q, logv1.LogServiceClient.GetTail)
	return fragment.LSN(a.GetTailLsn()), err
}

// OpenProducer implements api.Service. To open once more what may be open is
// harmless, unless it is to a certain epoch: then a second call would come
// upon the first one as upon a rival. Either way nothing is taken by it, so
// that a broken connection is ErrUnavailable.
func (s *Service) OpenProducer(ctx context.Context, r api.OpenRequest) (api.Opened, error) {
	var a *logv1.OpenProducerResponse
	open := func(ctx context.Context, c *conn, opts ...grpc.CallOption) (err error) {
		a, err = c.log.OpenProducer(ctx, rpc.OpenTo(r), opts...)
		return err
	}
	var err error
	if r.Epoch == 0 {
		err = s.pool.call(ctx, harmless, open)
	} else {
		_, err = s.pool.once(ctx, harmless, open)
	}
	if err != nil {
		return api.Opened{}, err
	}
	o := rpc.OpenedFrom(a)
	if o.ID == 0 || o.Epoch == 0 {
		return api.Opened{}, nonsense("it opens producer %d under epoch %d", o.ID, o.Epoch)
	}
	return o, nil
}

// Producer implements api.Service.
func (s *Service) Producer(ctx context.Context, log fragment.LogID, name string) (api.ProducerInfo, error) {
	q := &logv1.GetProducerRequest{LogId: uint64(log), Name: name}
	a, err := askLog(ctx, s.pool, harmless, q, logv1.LogServiceClient.GetProducer)
	return rpc.ProducerFrom(a.GetProducer()), err
}

// Producers lists the named producers of a log whose names come after the
// given one, by name. limit 0 means 1,000. Errors: ErrDeleted.
func (s *Service) Producers(ctx context.Context, log fragment.LogID, after string, limit int) ([]api.ProducerInfo, error) {
	q := &logv1.ListProducersRequest{LogId: uint64(log), After: after, Limit: pageOf(limit)}
	a, err := askLog(ctx, s.pool, harmless, q, logv1.LogServiceClient.ListProducers)
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
