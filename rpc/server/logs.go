package server

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// pageBytes bounds the answer of a listing: well below what a client takes.
const pageBytes = rpc.MessageBytesMax / 2

// logService is wpd.log.v1.LogService.
type logService struct {
	logv1.UnimplementedLogServiceServer
	s *Server
}

func (l *logService) logs() Logs { return l.s.cfg.Logs }

func (l *logService) Hello(context.Context, *logv1.HelloRequest) (*logv1.HelloResponse, error) {
	c := l.s.cfg
	m := &logv1.HelloResponse{ClusterId: c.ClusterID, NodeId: c.NodeID, Version: c.Version, Addr: c.Addr}
	if c.Nodes != nil {
		m.OtherAddrs = c.Nodes()
	}
	return m, nil
}

// writer returns where the node serves that writes a log; empty: not known.
func (s *Server) writer(log fragment.LogID) string {
	if s.cfg.Writer == nil {
		return ""
	}
	return s.cfg.Writer(log)
}

// logTo makes the message that tells about a log.
func (l *logService) logTo(info api.LogInfo) *logv1.Log {
	m := rpc.LogTo(info)
	m.WriterAddr = l.s.writer(info.ID)
	return m
}

func (l *logService) GetWriter(_ context.Context, r *logv1.GetWriterRequest) (*logv1.GetWriterResponse, error) {
	return &logv1.GetWriterResponse{Addr: l.s.writer(fragment.LogID(r.GetLogId()))}, nil
}

func (l *logService) CreateLog(ctx context.Context, r *logv1.CreateLogRequest) (*logv1.CreateLogResponse, error) {
	info, err := l.logs().Create(ctx, r.GetName(), rpc.ConfigFrom(r.GetConfig()))
	if err != nil {
		return nil, err
	}
	return &logv1.CreateLogResponse{Log: l.logTo(info)}, nil
}

func (l *logService) GetLog(ctx context.Context, r *logv1.GetLogRequest) (*logv1.GetLogResponse, error) {
	var info api.LogInfo
	var err error
	switch by := r.GetLog().(type) {
	case *logv1.GetLogRequest_Name:
		info, err = l.logs().Lookup(ctx, by.Name)
	case *logv1.GetLogRequest_Id:
		info, err = l.logs().Info(ctx, fragment.LogID(by.Id))
	default:
		err = fmt.Errorf("%w: neither a name nor an id of a log", api.ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	return &logv1.GetLogResponse{Log: l.logTo(info)}, nil
}

func (l *logService) ListLogs(ctx context.Context, r *logv1.ListLogsRequest) (*logv1.ListLogsResponse, error) {
	all, err := l.logs().List(ctx, r.GetPrefix(), r.GetAfter(), page(r.GetLimit()))
	if err != nil {
		return nil, err
	}
	answer, bytes := &logv1.ListLogsResponse{}, 0
	for _, info := range all {
		m := l.logTo(info)
		if bytes += proto.Size(m); bytes > pageBytes && len(answer.Logs) > 0 {
			break // the client asks for what comes after the last
		}
		answer.Logs = append(answer.Logs, m)
	}
	return answer, nil
}

// page is how many items an answer may have.
func page(limit uint32) int {
	if limit == 0 || limit > rpc.PageMax {
		return rpc.PageMax
	}
	return int(limit)
}

func (l *logService) ConfigureLog(ctx context.Context, r *logv1.ConfigureLogRequest) (*logv1.ConfigureLogResponse, error) {
	info, err := l.logs().Configure(ctx, fragment.LogID(r.GetLogId()), r.GetConfigVersion(), rpc.ConfigFrom(r.GetConfig()))
	if err != nil {
		return nil, err
	}
	return &logv1.ConfigureLogResponse{Log: l.logTo(info)}, nil
}

func (l *logService) DeleteLog(ctx context.Context, r *logv1.DeleteLogRequest) (*logv1.DeleteLogResponse, error) {
	return &logv1.DeleteLogResponse{}, l.logs().Delete(ctx, fragment.LogID(r.GetLogId()))
}

func (l *logService) TrimLog(ctx context.Context, r *logv1.TrimLogRequest) (*logv1.TrimLogResponse, error) {
	return &logv1.TrimLogResponse{}, l.logs().Trim(ctx, fragment.LogID(r.GetLogId()), fragment.LSN(r.GetBeforeLsn()))
}

func (l *logService) GetTail(ctx context.Context, r *logv1.GetTailRequest) (*logv1.GetTailResponse, error) {
	log, level := fragment.LogID(r.GetLogId()), rpc.LevelFrom(r.GetLevel())
	aged, ok := l.logs().(Aged)
	if !ok {
		tail, err := l.logs().Tail(ctx, log, level)
		return &logv1.GetTailResponse{TailLsn: uint64(tail)}, err
	}
	tail, age, err := aged.TailAge(ctx, log, level)
	return &logv1.GetTailResponse{TailLsn: uint64(tail), AgeMicros: uint64(max(age, 0).Microseconds())}, err
}

func (l *logService) OpenProducer(ctx context.Context, r *logv1.OpenProducerRequest) (*logv1.OpenProducerResponse, error) {
	opened, err := l.logs().OpenProducer(ctx, rpc.OpenFrom(r))
	m := rpc.OpenedTo(opened)
	m.WriterAddr = l.s.writer(fragment.LogID(r.GetLogId()))
	return m, err
}

func (l *logService) GetProducer(ctx context.Context, r *logv1.GetProducerRequest) (*logv1.GetProducerResponse, error) {
	info, err := l.logs().Producer(ctx, fragment.LogID(r.GetLogId()), r.GetName())
	return &logv1.GetProducerResponse{Producer: rpc.ProducerTo(info)}, err
}

func (l *logService) ListProducers(ctx context.Context, r *logv1.ListProducersRequest) (*logv1.ListProducersResponse, error) {
	all, err := l.logs().Producers(ctx, fragment.LogID(r.GetLogId()), r.GetAfter(), page(r.GetLimit()))
	answer := &logv1.ListProducersResponse{}
	for _, p := range all {
		answer.Producers = append(answer.Producers, rpc.ProducerTo(p))
	}
	return answer, err
}

func (l *logService) Append(stream logv1.LogService_AppendServer) error {
	return newAppending(l.s, stream).run()
}

func (l *logService) Read(r *logv1.ReadRequest, stream logv1.LogService_ReadServer) error {
	request, err := rpc.ReadFrom(r)
	if err != nil {
		return err
	}
	return newReading(l.s, request, stream).run()
}
