package server_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/server"
	adminv1 "github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// TestCalls makes every call but the streams against a node.
func TestCalls(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, wal.Config{})
		ctx := with(t.Context(), rpc.MetadataCluster, clusterID, rpc.MetadataRequest, "abc")
		hello, err := w.client.Hello(ctx, &logv1.HelloRequest{})
		require.NoError(t, err)
		require.Equal(t, []string{clusterID, "n1", "v0"}, []string{hello.ClusterId, hello.NodeId, hello.Version})

		created, err := w.client.CreateLog(ctx, &logv1.CreateLogRequest{Name: "a", Config: &logv1.LogConfig{EntryBytesMax: 2000}})
		require.NoError(t, err)
		id := created.Log.Id
		require.NotZero(t, id)
		_, err = w.client.CreateLog(ctx, &logv1.CreateLogRequest{Name: "a"})
		require.ErrorIs(t, remote(err), api.ErrExists)
		require.Equal(t, codes.AlreadyExists, status.Code(err))
		_, err = w.client.CreateLog(ctx, &logv1.CreateLogRequest{Name: "not a name"})
		require.ErrorIs(t, remote(err), api.ErrInvalid)

		byName, err := w.client.GetLog(ctx, &logv1.GetLogRequest{Log: &logv1.GetLogRequest_Name{Name: "a"}})
		require.NoError(t, err)
		byID, err := w.client.GetLog(ctx, &logv1.GetLogRequest{Log: &logv1.GetLogRequest_Id{Id: id}})
		require.NoError(t, err)
		require.Equal(t, rpc.LogFrom(byName.Log), rpc.LogFrom(byID.Log))
		require.EqualValues(t, 2000, byID.Log.Config.EntryBytesMax)
		_, err = w.client.GetLog(ctx, &logv1.GetLogRequest{})
		require.ErrorIs(t, remote(err), api.ErrInvalid)
		_, err = w.client.GetLog(ctx, &logv1.GetLogRequest{Log: &logv1.GetLogRequest_Name{Name: "b"}})
		require.ErrorIs(t, remote(err), api.ErrNotFound)

		configured, err := w.client.ConfigureLog(ctx, &logv1.ConfigureLogRequest{LogId: id, ConfigVersion: byID.Log.ConfigVersion, Config: &logv1.LogConfig{EntryBytesMax: 3000}})
		require.NoError(t, err)
		require.EqualValues(t, 3000, configured.Log.Config.EntryBytesMax)
		_, err = w.client.ConfigureLog(ctx, &logv1.ConfigureLogRequest{LogId: id, ConfigVersion: byID.Log.ConfigVersion})
		requireAs[*api.StaleError](t, remote(err))

		for i := range 3 {
			opened, err := w.client.OpenProducer(ctx, &logv1.OpenProducerRequest{LogId: id, Name: fmt.Sprint("p", i)})
			require.NoError(t, err)
			require.NotZero(t, opened.ProducerId)
			require.EqualValues(t, 1, opened.TailLsn)
			require.EqualValues(t, 3000, opened.EntryBytesMax)
		}
		one, err := w.client.GetProducer(ctx, &logv1.GetProducerRequest{LogId: id, Name: "p1"})
		require.NoError(t, err)
		require.Equal(t, "p1", one.Producer.Name)
		_, err = w.client.GetProducer(ctx, &logv1.GetProducerRequest{LogId: id, Name: "p7"})
		require.ErrorIs(t, remote(err), api.ErrNotFound)
		list, err := w.client.ListProducers(ctx, &logv1.ListProducersRequest{LogId: id, After: "p0", Limit: 1})
		require.NoError(t, err)
		require.Len(t, list.Producers, 1)
		require.Equal(t, rpc.ProducerFrom(one.Producer), rpc.ProducerFrom(list.Producers[0]))
		list, err = w.client.ListProducers(ctx, &logv1.ListProducersRequest{LogId: id, After: "p2"})
		require.NoError(t, err)
		require.Empty(t, list.Producers)
		_, err = w.client.ListProducers(ctx, &logv1.ListProducersRequest{LogId: id + 7})
		require.ErrorIs(t, remote(err), api.ErrNotFound)

		tail, err := w.client.GetTail(ctx, &logv1.GetTailRequest{LogId: id, Level: &logv1.Level{Linearizable: true}})
		require.NoError(t, err)
		require.EqualValues(t, 1, tail.TailLsn)
		_, err = w.client.TrimLog(ctx, &logv1.TrimLogRequest{LogId: id, BeforeLsn: 1})
		require.NoError(t, err)
		_, err = w.client.TrimLog(ctx, &logv1.TrimLogRequest{LogId: id, BeforeLsn: 2})
		require.Equal(t, &api.BeyondTailError{LSN: 2, Tail: 1}, requireAs[*api.BeyondTailError](t, remote(err)))

		_, err = w.client.CreateLog(ctx, &logv1.CreateLogRequest{Name: "ab"})
		require.NoError(t, err)
		logs, err := w.client.ListLogs(ctx, &logv1.ListLogsRequest{Prefix: "a", After: "a", Limit: 1 << 30})
		require.NoError(t, err)
		require.Len(t, logs.Logs, 1)
		require.Equal(t, "ab", logs.Logs[0].Name)

		_, err = w.client.DeleteLog(ctx, &logv1.DeleteLogRequest{LogId: id})
		require.NoError(t, err)
		_, err = w.client.DeleteLog(ctx, &logv1.DeleteLogRequest{LogId: id})
		require.ErrorIs(t, remote(err), api.ErrDeleted)
		require.NotEmpty(t, w.log.lines("LogService/DeleteLog", "request=abc", "code=NotFound", "level=DEBUG"))
	})
}

// TestEveryErrorOfACall: what the service says comes out at the other end, and
// what is none of ours stays here but for the log.
func TestEveryErrorOfACall(t *testing.T) {
	var err error
	s := serve(t, server.Config{Logs: &script{tail: func(context.Context, fragment.LogID, api.Level) (fragment.LSN, error) { return 0, err }}})
	client := s.logs()
	for _, e := range []struct {
		err  error
		code codes.Code
	}{
		{api.ErrNotFound, codes.NotFound},
		{api.ErrDeleted, codes.NotFound},
		{api.ErrExists, codes.AlreadyExists},
		{api.ErrClosed, codes.Unavailable},
		{api.ErrUnavailable, codes.Unavailable},
		{api.ErrMoved, codes.Aborted},
		{api.ErrUncertain, codes.Unknown},
		{api.ErrUnknownProducer, codes.FailedPrecondition},
		{api.ErrStored, codes.FailedPrecondition},
		{api.ErrInvalid, codes.InvalidArgument},
		{api.ErrForbidden, codes.PermissionDenied},
		{&api.FencedError{What: "generation", Have: 1, Want: 2}, codes.Aborted},
		{&api.TailError{Want: 1, Tail: 2}, codes.FailedPrecondition},
		{&api.TrimmedError{LSN: 1, First: 2}, codes.OutOfRange},
		{&api.BeyondTailError{LSN: 2, Tail: 1}, codes.OutOfRange},
		{&api.SequenceError{Have: 1, Last: 2, Conflict: true}, codes.FailedPrecondition},
		{&api.LimitError{What: "x", Limit: 1, Value: 2}, codes.ResourceExhausted},
		{&fragment.LimitError{What: "x", Limit: 1, Value: 2}, codes.ResourceExhausted},
		{&api.StaleError{What: "x", Have: 1, Want: 2}, codes.Aborted},
		{&api.DataLossError{Log: 1, From: 2, To: 3, Object: "x", Err: errors.New("gone")}, codes.DataLoss},
		{&api.WrongClusterError{Have: "x"}, codes.FailedPrecondition},
		{&api.BusyError{What: "x", RetryAfter: time.Second}, codes.Unavailable},
	} {
		err = fmt.Errorf("tail: %w", e.err)
		_, got := client.GetTail(t.Context(), &logv1.GetTailRequest{})
		require.Equal(t, e.code, status.Code(got), "%v", e.err)
		require.Equal(t, rpc.FromError(rpc.ToError(err)), remote(got))
	}
	err = errors.New("the secret of the disk")
	_, got := client.GetTail(with(t.Context(), rpc.MetadataRequest, "r1"), &logv1.GetTailRequest{})
	require.Equal(t, codes.Internal, status.Code(got))
	require.NotContains(t, got.Error(), "secret")
	require.ErrorIs(t, remote(got), api.ErrUncertain)
	require.Len(t, s.log.lines("level=ERROR", "request=r1", "the secret of the disk"), 1)
}

// TestPanic: the client learns that something is wrong, the log what, and the
// server goes on.
func TestPanic(t *testing.T) {
	s := serve(t, server.Config{Logs: &script{
		tail: func(context.Context, fragment.LogID, api.Level) (fragment.LSN, error) { panic("ouch") },
		read: func(context.Context, api.ReadRequest) (api.Stream, error) { panic("ouch") },
		limits: func(id fragment.LogID) (fragment.Limits, error) {
			if id == 7 {
				panic("ouch")
			}
			return fragment.Limits{}, nil
		},
	}})
	client := s.logs()
	_, err := client.GetTail(t.Context(), &logv1.GetTailRequest{})
	require.Equal(t, codes.Internal, status.Code(err))
	require.NotContains(t, err.Error(), "ouch")
	read, err := client.Read(t.Context(), &logv1.ReadRequest{})
	require.NoError(t, err)
	_, err = read.Recv()
	require.Equal(t, codes.Internal, status.Code(err))
	require.NotContains(t, err.Error(), "ouch")
	stream := openAppend(t, s.conn())
	stream.send(part{request: 1, log: 7, data: make([]byte, 200)})
	require.Equal(t, codes.Internal, status.Code(stream.end()))
	require.Len(t, s.log.lines("panic=ouch", "stack="), 3)
	_, err = client.Hello(t.Context(), &logv1.HelloRequest{})
	require.NoError(t, err)
	eventually(t, "streams end", func() bool { a, r := s.Stats(); return a+r == 0 })
}

// TestWrongCluster: a call for another cluster is refused, whatever it is.
func TestWrongCluster(t *testing.T) {
	s := serve(t, server.Config{Logs: &script{}})
	client := s.logs()
	ctx := with(t.Context(), rpc.MetadataCluster, "6a7a7e0e-0000-4000-8000-00000000beef", rpc.MetadataRequest, "r1")
	_, err := client.Hello(ctx, &logv1.HelloRequest{})
	require.Equal(t, &api.WrongClusterError{Have: clusterID}, remote(err))
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	read, err := client.Read(ctx, &logv1.ReadRequest{})
	require.NoError(t, err)
	_, err = read.Recv()
	require.Equal(t, &api.WrongClusterError{Have: clusterID}, remote(err))
	stream := openAppend(t, s.conn(), rpc.MetadataCluster, "")
	require.Equal(t, &api.WrongClusterError{Have: clusterID}, remote(stream.end()))
	require.Len(t, s.log.lines("level=INFO", "code=FailedPrecondition"), 1, "the log is not flooded")
	require.Len(t, s.log.lines("code=FailedPrecondition"), 3)
}

// TestRequestID: what is no id does not get into the log.
func TestRequestID(t *testing.T) {
	s := serve(t, server.Config{Logs: &script{}})
	client := s.logs()
	for _, id := range []string{strings.Repeat("x", 65), "a b", "tab\there", "\x7f"} {
		_, err := client.Hello(with(t.Context(), rpc.MetadataRequest, id), &logv1.HelloRequest{})
		if err == nil { // gRPC itself does not send all of these
			require.NotEmpty(t, s.log.lines("LogService/Hello", `request=""`))
		}
	}
	_, err := client.Hello(with(t.Context(), rpc.MetadataRequest, strings.Repeat("x", 64)), &logv1.HelloRequest{})
	require.NoError(t, err)
	require.Len(t, s.log.lines("request="+strings.Repeat("x", 64)), 1)
}

// TestMalformedMessages: bytes that are no message, and more of them than a
// message has.
func TestMalformedMessages(t *testing.T) {
	s := serve(t, server.Config{Logs: &script{}})
	conn := s.conn(grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})))
	call := func(method string, b []byte) error {
		var answer []byte
		return conn.Invoke(t.Context(), method, &b, &answer)
	}
	require.NoError(t, call(logv1.LogService_Hello_FullMethodName, nil))
	for _, b := range [][]byte{{0xff}, {0x0a, 9, 'a'}, {0x0a, 1, 0xff}} {
		err := call(logv1.LogService_CreateLog_FullMethodName, b)
		require.Equal(t, codes.InvalidArgument, status.Code(err))
		require.ErrorIs(t, remote(err), api.ErrInvalid)
	}
	err := call(logv1.LogService_CreateLog_FullMethodName, make([]byte, rpc.MessageBytesMax+1))
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	require.ErrorContains(t, err, fmt.Sprint(rpc.MessageBytesMax))
	require.Equal(t, codes.Unimplemented, status.Code(call("/wpd.log.v1.LogService/Nothing", nil)))
	require.Equal(t, codes.Unimplemented, status.Code(call("/wpd.admin.v1.AdminService/GetStatus", nil)), "there is no Admin")
	require.Equal(t, codes.Unimplemented, status.Code(call("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", nil)))
}

// TestLongLists: an answer stays below what a client takes, however much there
// is to tell.
func TestLongLists(t *testing.T) {
	const logs = 400 // of 9 KB each
	many := func(n int) (all []api.Extent) { return make([]api.Extent, n) }
	s := serve(t, server.Config{Logs: &script{list: func(_ context.Context, _, after string, limit int) (all []api.LogInfo, _ error) {
		for i := range logs {
			if name := fmt.Sprintf("log-%04d", i); name > after && len(all) < limit {
				x := api.LogInfo{Name: name, Extents: many(300)}
				for j := range x.Extents {
					x.Extents[j] = api.Extent{Chain: 1 << 40, Attachment: 1 << 40, From: 1 << 40, To: 1 << 40}
				}
				all = append(all, x)
			}
		}
		return all, nil
	}}})
	client, after, n, pages := s.logs(), "", 0, 0
	for {
		page, err := client.ListLogs(t.Context(), &logv1.ListLogsRequest{After: after}, grpc.MaxCallRecvMsgSize(rpc.MessageBytesMax))
		require.NoError(t, err)
		if len(page.Logs) == 0 {
			break
		}
		n += len(page.Logs)
		pages++
		after = page.Logs[len(page.Logs)-1].Name
	}
	require.Equal(t, logs, n)
	require.Greater(t, pages, 4)
}

// TestMetrics: they count what there is, under names that promtool likes, and
// with labels that clients can't add to.
func TestMetrics(t *testing.T) {
	s := serve(t, server.Config{Logs: &script{tail: func(context.Context, fragment.LogID, api.Level) (fragment.LSN, error) {
		return 0, api.ErrNotFound
	}}})
	conn := s.conn()
	client := logv1.NewLogServiceClient(conn)
	for i := range 10 {
		_, _ = client.GetTail(t.Context(), &logv1.GetTailRequest{LogId: uint64(i)})
		_ = conn.Invoke(t.Context(), fmt.Sprint("/wpd.log.v1.LogService/X", i), &logv1.HelloRequest{}, &logv1.HelloResponse{})
		_ = conn.Invoke(t.Context(), fmt.Sprint("/a.b/", i), &logv1.HelloRequest{}, &logv1.HelloResponse{})
	}
	x := openAppend(t, conn)
	x.send(part{request: 1, log: 1, data: make([]byte, 100)})
	require.NotNil(t, x.answer(1).Error)
	require.Equal(t, 1.0, s.metric("wpd_rpc_append_streams"))
	require.NoError(t, x.end())
	eventually(t, "no stream is left", func() bool { return s.metric("wpd_rpc_append_streams")+s.metric("wpd_rpc_calls") == 0 })
	require.Equal(t, 11.0, s.metric("wpd_rpc_calls_total"), "of methods that there are")
	require.Equal(t, 1.0, s.metric("wpd_rpc_refused_batches_total"))
	require.Equal(t, 1.0, s.metric("wpd_rpc_connections"))
	require.Zero(t, s.metric("wpd_rpc_receiving_bytes"))
	require.Greater(t, s.metric("wpd_rpc_received_bytes_total"), 1000.0)
	require.Greater(t, s.metric("wpd_rpc_sent_bytes_total"), 1000.0)
	problems, err := testutil.GatherAndLint(s.registry)
	require.NoError(t, err)
	require.Empty(t, problems)
	all, err := s.registry.Gather()
	require.NoError(t, err)
	for _, family := range all {
		require.True(t, strings.HasPrefix(family.GetName(), "wpd_rpc_"))
		require.Less(t, len(family.GetMetric()), 3)
	}
}

// TestIdleConnections: one without calls is closed after a while, one with a
// call is not.
func TestIdleConnections(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := serve(t, server.Config{Logs: &script{}})
		busy := openAppend(t, s.conn())
		busy.send()
		_, err := s.logs().Hello(t.Context(), &logv1.HelloRequest{})
		require.NoError(t, err)
		time.Sleep(rpc.IdleTimeout - time.Second)
		require.Equal(t, 2.0, s.metric("wpd_rpc_connections"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, 1.0, s.metric("wpd_rpc_connections"))
		require.NoError(t, busy.end())
	})
}

// TestRequestThatDoesNotCome: the call ends, whatever deadline it has.
func TestRequestThatDoesNotCome(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := serve(t, server.Config{Logs: &script{}, Limits: server.Limits{WaitingCalls: 1}})
		conn := s.conn()
		begun := time.Now()
		open := func(ctx context.Context) grpc.ClientStream {
			x, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, logv1.LogService_GetTail_FullMethodName)
			require.NoError(t, err)
			return x
		}
		far := within(t, time.Hour)
		var waiting []grpc.ClientStream
		for range 9 { // the connection's own, and one
			waiting = append(waiting, open(far))
		}
		synctest.Wait()
		for _, ctx := range []context.Context{t.Context(), within(t, time.Second), far} {
			err := open(ctx).RecvMsg(&logv1.GetTailResponse{})
			require.Equal(t, codes.Unavailable, status.Code(err))
			require.Equal(t, time.Second, requireAs[*api.BusyError](t, remote(err)).RetryAfter)
		}
		for _, x := range waiting {
			require.Equal(t, codes.Canceled, status.Code(x.RecvMsg(&logv1.GetTailResponse{})))
		}
		require.Equal(t, rpc.StallTimeout, time.Since(begun))
		synctest.Wait() // a call is told of once it is answered
		require.Len(t, s.log.lines("the request did not come within 10s"), 9)
		_, err := logv1.NewLogServiceClient(conn).Hello(t.Context(), &logv1.HelloRequest{})
		require.NoError(t, err)
	})
}

// TestCrowd: a connection that leaves its calls lying has to queue, and nobody
// else does.
func TestCrowd(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := serve(t, server.Config{Logs: &script{}})
		other := s.logs()
		conn := s.conn()
		ctx, cancel := context.WithCancel(t.Context())
		begun := time.Now()
		go func() {
			for range 200 {
				_, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, logv1.LogService_GetTail_FullMethodName)
				assert.NoError(t, err)
			}
		}()
		synctest.Wait()
		some := s.metric("wpd_rpc_calls")
		require.Greater(t, some, 100.0)
		require.Less(t, some, 200.0)
		_, err := other.Hello(t.Context(), &logv1.HelloRequest{})
		require.NoError(t, err)
		require.Zero(t, time.Since(begun))
		time.Sleep(time.Second)
		require.Equal(t, 200.0, s.metric("wpd_rpc_calls"), "all are let in")
		cancel()
	})
}

// TestHealthAndReflection: gRPC's own services.
func TestHealthAndReflection(t *testing.T) {
	s := serve(t, server.Config{Logs: &script{}, Admin: &admin{}, Reflection: true})
	conn := s.conn()
	health := healthv1.NewHealthClient(conn)
	for _, name := range []string{"", logv1.LogService_ServiceDesc.ServiceName, adminv1.AdminService_ServiceDesc.ServiceName} {
		r, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{Service: name})
		require.NoError(t, err)
		require.Equal(t, healthv1.HealthCheckResponse_SERVING, r.Status)
	}
	_, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "x"})
	require.Equal(t, codes.NotFound, status.Code(err))
	require.ElementsMatch(t, []string{
		"wpd.log.v1.LogService", "wpd.admin.v1.AdminService", "grpc.health.v1.Health",
		"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
	}, reflected(t, conn))
}
