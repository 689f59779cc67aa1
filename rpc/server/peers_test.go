package server_test

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/peer"
	"github.com/wpd-io/wpd/rpc/server"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	peerv1 "github.com/wpd-io/wpd/rpc/wpdpb/peerv1"
	"github.com/wpd-io/wpd/wal/api"
)

// leader renews whatever it is asked to. A proposal hangs.
type leader struct{ peer.Handlers }

func (*leader) Renew(_ context.Context, q *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
	return &peerv1.RenewResponse{Epochs: []uint64{q.GetBoot()}}, nil
}

func (*leader) Propose(ctx context.Context, _ *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// follower is another node, with connections of its own.
func (s *served) follower() *peer.Client {
	c := peer.New(peer.Config{Dialer: func(ctx context.Context, _ string) (net.Conn, error) { return s.dial(ctx) }})
	c.Introduce(clusterID, "n2-00")
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// renew renews a lease, within the time that leases last.
func renew(t testing.TB, c *peer.Client) error {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := c.Renew(ctx, "leader:1", &peerv1.RenewRequest{Identity: "n2-00", Boot: 3})
	return err
}

// TestRenewalsUnderSiege: clients take all the connections that there are for
// them, some silent, some not, and more and more silent ones come. Nodes are let
// in all the same, and their renewals get through, on connections that are there
// and on new ones.
func TestRenewalsUnderSiege(t *testing.T) {
	x := besiege(t, server.Limits{Connections: 100})
	kept := x.follower()
	require.NoError(t, renew(t, kept))
	for range 50 {
		x.raw(false)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var silent sync.WaitGroup
	var dialled atomic.Int64
	defer silent.Wait()
	defer cancel()
	for range 1500 { // more than there is room for, and always as many
		silent.Go(func() {
			for ctx.Err() == nil {
				c, err := x.dial(ctx)
				if err != nil {
					continue
				}
				dialled.Add(1)
				stop := context.AfterFunc(ctx, func() { _ = c.Close() })
				_, _ = c.Read(make([]byte, 1)) // until it is closed
				stop()
				_ = c.Close()
				select {
				case <-time.After(200 * time.Millisecond): // the pause of a client that tries again
				case <-ctx.Done():
				}
			}
		})
	}
	eventually(t, "there are too many", func() bool { return x.metric("wpd_rpc_refused_connections_total") > 1000 })
	was := dialled.Load()
	failed, renewals := 0, 0
	for ; renewals < 60 || dialled.Load() < was+300; renewals++ { // while it goes on
		require.NoError(t, renew(t, kept))
		c := x.follower()
		for try := 1; ; try++ {
			err := renew(t, c)
			if err == nil {
				break
			}
			failed++
			require.Less(t, try, 5, "%v", err)
		}
		require.NoError(t, c.Close())
	}
	require.Less(t, failed, renewals/5)
	t.Logf("%d silent connections, %d of %d renewals failed at first", dialled.Load()-was, failed, renewals)
	cancel()
	silent.Wait()
	x.lift()
}

// TestRenewalsAmongCalls: clients make as many calls as they may, and more.
func TestRenewalsAmongCalls(t *testing.T) {
	x := besiege(t, server.Limits{Calls: 100, WaitingCalls: 50})
	for range 10 {
		r := x.raw(false)
		for i := range uint32(200) {
			r.headers(1+2*i, appendMethod)
		}
		require.NoError(t, r.flush())
	}
	says := func() bool { return x.metric("wpd_rpc_calls") >= 50+10*8 }
	eventually(t, "there are too many", says)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	kept := x.follower()
	for range 300 { // of the node's own
		wg.Go(func() { _, _ = kept.Propose(ctx, "leader:1", &peerv1.ProposeRequest{}) })
	}
	eventually(t, "they have arrived", func() bool { return x.metric("wpd_rpc_calls") >= 50+10*8+192 })
	for range 100 {
		require.NoError(t, renew(t, kept))
	}
	require.True(t, says())
	cancel()
	wg.Wait()
	x.lift()
}

// TestPeerRoom: nodes have room of their own, which is bounded, and clients have
// theirs, also when nodes have taken all of their own.
func TestPeerRoom(t *testing.T) {
	s := serveTCP(t, server.Config{
		Logs:     &script{tail: func(context.Context, fragment.LogID, api.Level) (fragment.LSN, error) { return 7, nil }},
		Register: peer.Register(clusterID, &leader{}), Limits: server.Limits{Connections: 2, PeerConnections: 3},
	})
	s.raw(false)
	s.raw(false)
	eventually(t, "the clients are in", func() bool { return s.metric("wpd_rpc_connections") == 2 })
	var in []*peer.Client
	for range 3 {
		in = append(in, s.follower())
		require.NoError(t, renew(t, in[len(in)-1]))
	}
	err := renew(t, s.follower())
	requireAs[*peer.BrokenError](t, err)
	require.NotZero(t, s.metric("wpd_rpc_refused_connections_total"))
	require.NotEmpty(t, s.log.lines("refused a connection", "limit_of_nodes=3"))
	require.NoError(t, in[0].Close())
	eventually(t, "there is room", func() bool { return renew(t, s.follower()) == nil })
	require.EqualValues(t, 5, s.metric("wpd_rpc_connections"))

	// Who begins as a node, and goes on as nothing known, is not let in.
	c, err := s.dial(t.Context())
	require.NoError(t, err)
	_, err = io.WriteString(c, "wpd-peer/9\n")
	require.NoError(t, err)
	gone(t, c)
	require.NoError(t, c.Close())
}

// TestForwarded: the service hears that another node makes a call, whatever the
// call is; that one is let in as a node is.
func TestForwarded(t *testing.T) {
	heard := make(chan bool, 1)
	p := producer{id: 1, epoch: 1, next: 1}
	s := serve(t, server.Config{Logs: &script{
		tail: func(ctx context.Context, _ fragment.LogID, _ api.Level) (fragment.LSN, error) {
			heard <- rpc.Forwarded(ctx)
			return 1, nil
		},
		append: func(ctx context.Context, _ api.AppendRequest, done func(api.Ack, error)) error {
			heard <- rpc.Forwarded(ctx)
			done(api.Ack{From: 1, To: 2}, nil)
			return nil
		},
		read: func(ctx context.Context, _ api.ReadRequest) (api.Stream, error) {
			heard <- rpc.Forwarded(ctx)
			return nil, api.ErrDeleted
		},
	}})
	for _, c := range []struct {
		md   []string
		want bool
	}{{nil, false}, {[]string{rpc.MetadataForwarded, "1"}, true}, {[]string{rpc.MetadataForwarded, "0"}, false}} {
		conn := s.conn()
		logs := logv1.NewLogServiceClient(conn)
		ctx := with(t.Context(), c.md...)
		_, err := logs.GetTail(ctx, &logv1.GetTailRequest{})
		require.NoError(t, err)
		require.Equal(t, c.want, <-heard)
		a := openAppend(t, conn, c.md...)
		a.send(part{request: 1, log: 1, data: p.batch([]byte("x"))})
		require.NoError(t, a.RecvMsg(&logv1.AppendResponse{}))
		require.Equal(t, c.want, <-heard)
		r, err := logs.Read(ctx, &logv1.ReadRequest{LogId: 1})
		require.NoError(t, err)
		_, err = r.Recv()
		require.ErrorIs(t, remote(err), api.ErrDeleted)
		require.Equal(t, c.want, <-heard)
	}
}

// whereabouts is a node that is one of several.
func whereabouts(t *testing.T) (c server.Config, move func(log fragment.LogID, addr string)) {
	var mu sync.Mutex
	writers := make(map[fragment.LogID]string)
	c = server.Config{
		Addr: "n1:1", Nodes: func() []string { return []string{"n2:1", "n3:1"} },
		Writer: func(log fragment.LogID) string {
			mu.Lock()
			defer mu.Unlock()
			return writers[log]
		},
		Logs: &script{
			append: func(_ context.Context, r api.AppendRequest, done func(api.Ack, error)) error {
				if r.Log == 9 {
					return &api.ElsewhereError{Node: "n2-00", Addr: "n2:1"}
				}
				done(api.Ack{From: 1, To: 2}, nil)
				return nil
			},
			create: func(context.Context, string) (api.LogInfo, error) {
				return api.LogInfo{ID: 7, Writer: "n2", Epoch: 5}, nil
			},
			list: func(context.Context, string, string, int) ([]api.LogInfo, error) {
				return []api.LogInfo{{ID: 7}, {ID: 8}}, nil
			},
		},
	}
	return c, func(log fragment.LogID, addr string) {
		mu.Lock()
		defer mu.Unlock()
		writers[log] = addr
	}
}

// TestWriterAddr: whoever asks for a node, or for a log, hears where it is.
func TestWriterAddr(t *testing.T) {
	c, move := whereabouts(t)
	move(7, "n2:1")
	s := serve(t, c)
	logs := s.logs()
	hello, err := logs.Hello(t.Context(), &logv1.HelloRequest{})
	require.NoError(t, err)
	require.Equal(t, "n1:1", hello.GetAddr())
	require.Equal(t, []string{"n2:1", "n3:1"}, hello.GetOtherAddrs())
	created, err := logs.CreateLog(t.Context(), &logv1.CreateLogRequest{Name: "a"})
	require.NoError(t, err)
	require.Equal(t, "n2:1", created.GetLog().GetWriterAddr())
	require.Equal(t, "n2", created.GetLog().GetWriter())
	require.EqualValues(t, 5, created.GetLog().GetChainEpoch())
	list, err := logs.ListLogs(t.Context(), &logv1.ListLogsRequest{})
	require.NoError(t, err)
	require.Equal(t, "n2:1", list.GetLogs()[0].GetWriterAddr())
	require.Empty(t, list.GetLogs()[1].GetWriterAddr())
	for log, want := range map[uint64]string{7: "n2:1", 8: ""} {
		w, err := logs.GetWriter(t.Context(), &logv1.GetWriterRequest{LogId: log})
		require.NoError(t, err)
		require.Equal(t, want, w.GetAddr())
	}
	c.Writer, c.Nodes, c.Addr = nil, nil, ""
	w, err := serve(t, c).logs().GetWriter(t.Context(), &logv1.GetWriterRequest{LogId: 7})
	require.NoError(t, err)
	require.Empty(t, w.GetAddr())
}

// TestHints: who sends batches to a node that passes them on hears where they
// belong, once, and again when that changes; not when they are at the right
// place, were refused, or come from a node.
func TestHints(t *testing.T) {
	for _, forwarded := range []string{"0", "1"} {
		c, move := whereabouts(t)
		s := serve(t, c)
		a := openAppend(t, s.conn(), rpc.MetadataForwarded, forwarded)
		p := producer{id: 1, epoch: 1, next: 1}
		request := uint64(0)
		hints := func(log fragment.LogID) (all []string) {
			request++
			a.send(part{request: request, log: log, data: p.batch([]byte("x"))})
			var m logv1.AppendResponse
			require.NoError(t, a.RecvMsg(&m))
			for _, h := range m.GetHints() {
				require.EqualValues(t, log, h.GetLogId())
				all = append(all, h.GetWriterAddr())
			}
			return all
		}
		require.Empty(t, hints(7), "not known")
		for _, addr := range []string{"n2:1", "n3:1", "n2:1"} {
			move(7, addr)
			if forwarded == "1" {
				require.Empty(t, hints(7))
				continue
			}
			require.Equal(t, []string{addr}, hints(7))
			require.Empty(t, hints(7), "once")
		}
		move(7, "n1:1")
		require.Empty(t, hints(7), "here")
		move(9, "n2:1")
		require.Empty(t, hints(9), "the refusal says so itself")
	}
}

// TestTailAge: a service that can say how old its answer may be is asked.
func TestTailAge(t *testing.T) {
	aged := &agedLogs{Logs: &script{}}
	m, err := serve(t, server.Config{Logs: aged}).logs().GetTail(t.Context(), &logv1.GetTailRequest{LogId: 7})
	require.NoError(t, err)
	require.EqualValues(t, 9, m.GetTailLsn())
	require.EqualValues(t, 1500, m.GetAgeMicros())
}

type agedLogs struct{ server.Logs }

func (*agedLogs) TailAge(context.Context, fragment.LogID, api.Level) (fragment.LSN, time.Duration, error) {
	return 9, 1500 * time.Microsecond, nil
}

// TestSilentNode: a connection that was let in as one of a node has no more time
// than others until it speaks HTTP/2.
func TestSilentNode(t *testing.T) {
	l := bufconn.Listen(1 << 10)
	s := serveOn(t, server.Config{
		Logs: &script{}, Limits: server.Limits{Connections: 1, HandshakeTimeout: 100 * time.Millisecond},
		Register: func(grpc.ServiceRegistrar) {},
	}, l, l.DialContext, "")
	s.raw(false) // takes the place of clients
	eventually(t, "it is in", func() bool { return s.metric("wpd_rpc_connections") == 1 })
	c, err := s.dial(t.Context())
	require.NoError(t, err)
	for _, b := range []byte(rpc.PeerPreamble) { // in pieces
		_, err = c.Write([]byte{b})
		require.NoError(t, err)
	}
	gone(t, c)
	require.Zero(t, s.metric("wpd_rpc_refused_connections_total"))
	require.EqualValues(t, 1, s.metric("wpd_rpc_connections"))
	require.NoError(t, c.Close())
}
