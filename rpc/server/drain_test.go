package server_test

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/server"
	adminv1 "github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// closing demands the error of a node that is about to stop.
func closing(t testing.TB, err error) {
	t.Helper()
	require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	require.ErrorIs(t, remote(err), api.ErrUnavailable)
	for _, d := range status.Convert(err).Details() {
		if e, ok := d.(*logv1.Error); ok {
			require.Equal(t, logv1.ErrorReason_ERROR_REASON_CLOSING, e.Reason)
			return
		}
	}
	require.Fail(t, "no reason")
}

// TestDrain: batches in flight are answered, new ones and new calls are
// refused, followers end, the health service says it, and Close waits for all
// that.
func TestDrain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p, mem := newNode(t, wal.Config{})
		s := serve(t, server.Config{Logs: p.Node.Logs(), Admin: &admin{}, Reflection: true})
		conn := s.conn()
		w := &world{served: s, node: p, mem: mem, client: logv1.NewLogServiceClient(conn)}
		id, pr := w.create("a")
		follower := openRead(t, conn, &logv1.ReadRequest{LogId: uint64(id), Follow: true})
		follower.start()
		health := healthv1.NewHealthClient(conn)
		watch, err := health.Watch(t.Context(), &healthv1.HealthCheckRequest{Service: logv1.LogService_ServiceDesc.ServiceName})
		require.NoError(t, err)
		h, err := watch.Recv()
		require.NoError(t, err)
		require.Equal(t, healthv1.HealthCheckResponse_SERVING, h.Status)
		_, err = reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
		require.NoError(t, err)
		idle := openAppend(t, conn)
		idle.send()

		rule := w.node.Faults.Add(blobtest.Fault{Kind: blobtest.Create, Hang: true, Prefix: "chains/"})
		x := openAppend(t, conn)
		first, second, third := pr.batch([]byte("1")), pr.batch([]byte("2")), pr.batch([]byte("3"))
		x.send(part{request: 1, log: id, data: first}, part{request: 2, log: id, data: second}, part{request: 3, log: id, bytes: len(third), data: third[:20]})
		synctest.Wait()
		require.Positive(t, rule.Waiting())
		appends, reads := s.Stats()
		require.Equal(t, []int{2, 1}, []int{appends, reads})

		s.Drain()
		s.Drain()
		closing(t, idle.over())
		_, err = follower.next()
		closing(t, err)
		h, err = watch.Recv()
		require.NoError(t, err)
		require.Equal(t, healthv1.HealthCheckResponse_NOT_SERVING, h.Status)
		check, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{})
		require.NoError(t, err)
		require.Equal(t, healthv1.HealthCheckResponse_NOT_SERVING, check.Status)
		_, err = w.client.Hello(t.Context(), &logv1.HelloRequest{})
		closing(t, err)
		_, err = openRead(t, conn, &logv1.ReadRequest{LogId: uint64(id)}).next()
		closing(t, err)
		closing(t, openAppend(t, conn).over())
		_, err = adminv1.NewAdminServiceClient(conn).GetStatus(t.Context(), &adminv1.GetStatusRequest{})
		require.NoError(t, err, "who runs it can see it drain")

		// On the stream that is still open.
		x.send(part{data: third[20:]}, part{request: 4, log: id, data: pr.batch([]byte("4"))})
		for request, r := range x.answers(2) {
			require.Equal(t, logv1.ErrorReason_ERROR_REASON_CLOSING, r.Error.Reason, "batch %d", request)
		}
		closed := make(chan error)
		go func() { closed <- s.Close(within(t, 25*time.Second)) }()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		select {
		case err := <-closed:
			require.Fail(t, "closed while batches were in flight", "%v", err)
		default:
		}
		_, err = watch.Recv()
		closing(t, err)
		rule.Release()
		for request, r := range x.answers(2) {
			require.Nil(t, r.Error)
			require.Equal(t, request, r.FromLsn)
		}
		closing(t, x.over())
		require.NoError(t, <-closed)
		require.NoError(t, s.Close(t.Context()))
	})
}

// TestCloseCuts: calls that do not end are cut when Close's time is over.
func TestCloseCuts(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p, mem := newNode(t, wal.Config{})
		s := serve(t, server.Config{Logs: p.Node.Logs()})
		w := &world{served: s, node: p, mem: mem, client: s.logs()}
		id, pr := w.create("a")
		w.fill(id, &pr, 300, 30_000)
		slow := openRead(t, s.narrow(), &logv1.ReadRequest{LogId: uint64(id)})
		slow.start()
		rule := p.Faults.Add(blobtest.Fault{Kind: blobtest.Create, Hang: true, Prefix: "chains/"})
		defer rule.Release()
		x := openAppend(t, s.conn())
		x.send(part{request: 1, log: id, data: pr.batch([]byte("x"))})
		ended := make(chan error)
		go func() {
			_, err := w.client.GetTail(t.Context(), &logv1.GetTailRequest{LogId: uint64(id), Level: &logv1.Level{AtLeastLsn: 1 << 40}})
			ended <- err
		}()
		silent, err := s.dial(t.Context())
		require.NoError(t, err)
		defer silent.Close()
		synctest.Wait()
		begun := time.Now()
		err = s.Close(within(t, 10*time.Second))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 10*time.Second, time.Since(begun))
		require.ErrorIs(t, remote(<-ended), api.ErrUncertain)
		require.Error(t, x.over())
		appends, reads := s.Stats()
		require.Zero(t, appends+reads)
		require.ErrorIs(t, s.Serve(bufconn.Listen(1)), api.ErrClosed)
	})
}

// TestCloseIsQuick: where nothing is under way, not even what never spoke is
// waited for.
func TestCloseIsQuick(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := serve(t, server.Config{Logs: &script{}})
		_, err := s.logs().Hello(t.Context(), &logv1.HelloRequest{})
		require.NoError(t, err)
		silent, err := s.dial(t.Context())
		require.NoError(t, err)
		synctest.Wait()
		begun := time.Now()
		require.NoError(t, s.Close(t.Context()))
		require.Zero(t, time.Since(begun))
		_, err = io.Copy(io.Discard, silent)
		require.NoError(t, err, "it was closed")
	})
}

// TestListenerFails: Serve says so; the server can be closed, and its metrics
// are gone then.
func TestListenerFails(t *testing.T) {
	registry := prometheus.NewRegistry()
	c := server.Config{Logs: &script{}, ClusterID: clusterID, Registerer: registry}
	s, err := server.New(c)
	require.NoError(t, err)
	_, err = server.New(c)
	require.Error(t, err, "its metrics are there already")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.ErrorIs(t, s.Serve(l), net.ErrClosed)
	require.NoError(t, s.Close(t.Context()))
	s, err = server.New(c)
	require.NoError(t, err)
	require.NoError(t, s.Close(t.Context()))
}

func TestConfigErrors(t *testing.T) {
	for _, c := range []struct {
		config server.Config
		says   string
	}{
		{server.Config{ClusterID: "x"}, "no logs"},
		{server.Config{Logs: &script{}}, "no cluster"},
		{server.Config{Logs: &script{}, ClusterID: "x", Limits: server.Limits{Calls: -1}}, "Calls is negative"},
		{server.Config{Logs: &script{}, ClusterID: "x", Limits: server.Limits{StallTimeout: -1}}, "StallTimeout is negative"},
		{server.Config{Logs: &script{}, ClusterID: "x", Limits: server.Limits{ReceiveBytes: 1 << 20}}, "at least"},
	} {
		_, err := server.New(c.config)
		require.ErrorContains(t, err, c.says)
	}
	require.Greater(t, rpc.ReceiveBytesMax*3/4, fragment.BatchBytesMax)
}
