package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/client"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

// TestCalls: which calls are made again after which error, and what the caller
// is told in the end.
func TestCalls(t *testing.T) {
	unavailable := rpc.Status(&api.BusyError{What: "too much", RetryAfter: 10 * time.Millisecond})
	broken := errors.New("no reason of ours: as if the connection broke")
	tail := func(ctx context.Context, s *client.Service) error {
		_, err := s.Tail(ctx, 1, api.Level{})
		return err
	}
	create := func(ctx context.Context, s *client.Service) error {
		_, err := s.Create(ctx, "a", api.LogConfig{})
		return err
	}
	open := func(epoch uint64) func(ctx context.Context, s *client.Service) error {
		return func(ctx context.Context, s *client.Service) error {
			r := api.OpenRequest{Log: 1}
			if epoch != 0 {
				r.ID, r.Epoch = 5, 6
			}
			_, err := s.OpenProducer(ctx, r)
			return err
		}
	}
	for _, c := range []struct {
		name  string
		call  func(context.Context, *client.Service) error
		err   error
		times int   // that it fails
		want  error // nil: success
		tries int
	}{
		{"a read, fine", tail, nil, 0, nil, 1},
		{"a read, unavailable twice", tail, unavailable, 2, nil, 3},
		{"a read, broken twice", tail, broken, 2, nil, 3},
		{"a read, unavailable for long", tail, unavailable, 100, api.ErrUnavailable, 6},
		{"a read, broken for long", tail, broken, 100, api.ErrUnavailable, 6},
		{"a read, closing", tail, rpc.Status(api.ErrClosed), 3, nil, 4},
		{"a read, refused", tail, rpc.Status(api.ErrDeleted), 1, api.ErrDeleted, 1},
		{"a change, unavailable twice", create, unavailable, 2, nil, 3},
		{"a change, unavailable for long", create, unavailable, 100, api.ErrUnavailable, 6},
		{"a change, broken", create, broken, 1, api.ErrUncertain, 1},
		{"a change, refused", create, rpc.Status(api.ErrExists), 1, api.ErrExists, 1},
		{"a change, unsure", create, rpc.Status(api.ErrUncertain), 1, api.ErrUncertain, 1},
		{"an open, broken twice", open(0), broken, 2, nil, 3},
		{"an open, unavailable twice", open(0), unavailable, 2, nil, 3},
		{"an open to an epoch, broken", open(6), broken, 1, api.ErrUnavailable, 1},
		{"an open to an epoch, unavailable", open(6), unavailable, 1, api.ErrUnavailable, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				tries := 0
				try := func() error {
					if tries++; tries <= c.times {
						return c.err
					}
					return nil
				}
				f := (&fake{
					onTail: func(context.Context, *logv1.GetTailRequest) (*logv1.GetTailResponse, error) {
						return &logv1.GetTailResponse{TailLsn: 1}, try()
					},
					onCreate: func(context.Context, *logv1.CreateLogRequest) (*logv1.CreateLogResponse, error) {
						return &logv1.CreateLogResponse{Log: &logv1.Log{Id: 1, Name: "a", FirstLsn: 1, TailLsn: 1}}, try()
					},
					onOpen: func(context.Context, *logv1.OpenProducerRequest) (*logv1.OpenProducerResponse, error) {
						return &logv1.OpenProducerResponse{ProducerId: 5, Epoch: 6}, try()
					},
				}).serve(t)
				s := f.client(t)
				before := time.Now()
				err := c.call(t.Context(), s)
				if c.want == nil {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, c.want)
				}
				require.Equal(t, c.tries, tries)
				require.Less(t, time.Since(before), 4*time.Second)
				require.NoError(t, s.Close())
				f.stop()
			})
		})
	}
}

// TestCallContext: a call ends with its ctx, also between tries, and says
// whether it may have been done.
func TestCallContext(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := (&fake{
			onTail: func(ctx context.Context, r *logv1.GetTailRequest) (*logv1.GetTailResponse, error) {
				if r.LogId == 2 {
					return nil, rpc.Status(api.ErrUnavailable)
				}
				<-ctx.Done()
				return nil, rpc.Status(ctx.Err())
			},
			onCreate: func(ctx context.Context, _ *logv1.CreateLogRequest) (*logv1.CreateLogResponse, error) {
				<-ctx.Done()
				return nil, rpc.Status(ctx.Err())
			},
		}).serve(t)
		s := f.client(t)
		const end = 100 * time.Millisecond
		for id := range fragment.LogID(3) {
			ctx, cancel := context.WithTimeout(t.Context(), end)
			before := time.Now()
			_, err := s.Tail(ctx, id, api.Level{})
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorIs(t, err, api.ErrUnavailable)
			require.Equal(t, end, time.Since(before))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := s.Create(ctx, "a", api.LogConfig{})
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, api.ErrUncertain)
		_, err = s.Create(ctx, "a", api.LogConfig{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, api.ErrUncertain, "it was not sent")
		require.NoError(t, s.Close())
		f.stop()
	})
}

// TestCallNobody: without a connection nothing was sent, so a change is
// unavailable, not uncertain.
func TestCallNobody(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := (&fake{}).serve(t)
		c := f.config()
		alive := c.Dialer
		var dead atomic.Bool
		c.Dialer = func(ctx context.Context, addr string) (net.Conn, error) {
			if dead.Load() {
				return nil, syscall.ECONNREFUSED
			}
			return alive(ctx, addr)
		}
		s := dial(t, c)
		dead.Store(true)
		f.stop()
		synctest.Wait() // the client has noticed
		_, err := s.Create(t.Context(), "a", api.LogConfig{})
		require.ErrorIs(t, err, api.ErrUnavailable)
		require.NotErrorIs(t, err, api.ErrUncertain)
		_, err = s.Read(t.Context(), api.ReadRequest{Log: 7})
		require.ErrorIs(t, err, api.ErrUnavailable)
		require.NoError(t, s.Close())
	})
}

// TestCallNonsense: answers that can't be.
func TestCallNonsense(t *testing.T) {
	logs := []*logv1.Log{nil, {}, {Id: 1}, {Id: 1, FirstLsn: 5, TailLsn: 4}}
	var i int
	list := []*logv1.Log{{Id: 1, Name: "b", FirstLsn: 1, TailLsn: 1}, {Id: 2, Name: "a", FirstLsn: 1, TailLsn: 1}}
	f := (&fake{
		onLog: func(context.Context, *logv1.GetLogRequest) (*logv1.GetLogResponse, error) {
			return &logv1.GetLogResponse{Log: logs[i]}, nil
		},
		onOpen: func(context.Context, *logv1.OpenProducerRequest) (*logv1.OpenProducerResponse, error) {
			return &logv1.OpenProducerResponse{}, nil
		},
		onList: func(context.Context, *logv1.ListLogsRequest) (*logv1.ListLogsResponse, error) {
			return &logv1.ListLogsResponse{Logs: list}, nil
		},
	}).serve(t)
	s := f.client(t)
	for i = range logs {
		_, err := s.Lookup(t.Context(), "a")
		require.ErrorContains(t, err, "nonsense", "%d", i)
	}
	_, err := s.OpenProducer(t.Context(), api.OpenRequest{Log: 1})
	require.ErrorContains(t, err, "nonsense")
	_, err = s.List(t.Context(), "", "", 0)
	require.ErrorContains(t, err, "nonsense", "a list that goes back would have no end")
}

// TestClose: it ends whatever is going on, each with its outcome, and leaves
// nothing behind.
func TestClose(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		silent := func(ctx context.Context) { <-ctx.Done() }
		f := (&fake{
			onTail: func(ctx context.Context, _ *logv1.GetTailRequest) (*logv1.GetTailResponse, error) {
				silent(ctx)
				return nil, ctx.Err()
			},
			onCreate: func(ctx context.Context, _ *logv1.CreateLogRequest) (*logv1.CreateLogResponse, error) {
				silent(ctx)
				return nil, ctx.Err()
			},
			onAppend: func(s appendStream) error { silent(s.Context()); return nil },
			onRead: func(r *logv1.ReadRequest, s readStream) error {
				if r.LogId == 7 {
					_ = sendAll(s, start(3))
				}
				silent(s.Context())
				return nil
			},
		}).serve(t)
		s := f.client(t)
		st, err := s.Read(t.Context(), api.ReadRequest{Log: 7})
		require.NoError(t, err)
		idle, err := s.Read(t.Context(), api.ReadRequest{Log: 7})
		require.NoError(t, err)
		want := map[string]error{
			"tail": api.ErrClosed, "create": api.ErrUncertain, "read": api.ErrClosed, "next": api.ErrClosed,
		}
		var mu sync.Mutex
		got := make(map[string]error)
		var wg sync.WaitGroup
		for name, call := range map[string]func() error{
			"tail":   func() error { _, err := s.Tail(context.Background(), 1, api.Level{}); return err },
			"create": func() error { _, err := s.Create(context.Background(), "a", api.LogConfig{}); return err },
			"read":   func() error { _, err := s.Read(context.Background(), api.ReadRequest{Log: 8}); return err },
			"next":   func() error { _, err := st.Next(context.Background()); return err },
		} {
			wg.Go(func() {
				err := call()
				mu.Lock()
				defer mu.Unlock()
				got[name] = err
			})
		}
		o := newOutcomes()
		require.NoError(t, o.append(t.Context(), s, 1, batch(t, 1, 1, 10)))
		synctest.Wait()
		require.Empty(t, got)
		for range 2 {
			require.NoError(t, s.Close())
		}
		wg.Wait()
		for name, err := range want {
			require.ErrorIs(t, got[name], err, name)
		}
		require.ErrorIs(t, o.of(t, 1).err, api.ErrUncertain)
		_, err = s.Tail(t.Context(), 1, api.Level{})
		require.ErrorIs(t, err, api.ErrClosed)
		_, err = s.Read(t.Context(), api.ReadRequest{Log: 7})
		require.ErrorIs(t, err, api.ErrClosed)
		_, err = idle.Next(t.Context())
		require.ErrorIs(t, err, api.ErrClosed)
		require.NoError(t, idle.Close())
		require.NoError(t, st.Close())
		f.stop()
	})
}

// TestKeepalive: a peer that says nothing any more, as behind a cut cable, is
// given up after 15 seconds. What was in flight is told, and all goes on with
// the next connection.
func TestKeepalive(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := (&fake{
			onTail: func(context.Context, *logv1.GetTailRequest) (*logv1.GetTailResponse, error) {
				return &logv1.GetTailResponse{TailLsn: 9}, nil
			},
			onAppend: func(s appendStream) error {
				return receiveBatches(s, nil, func(b received) error { return send(s, acked(b, b.Request)) })
			},
			onRead: func(r *logv1.ReadRequest, s readStream) error {
				if r.From == logv1.ReadFrom_READ_FROM_EARLIEST {
					_ = sendAll(s, start(3))
					<-s.Context().Done()
					return nil
				}
				return sendAll(s, append([]*rpc.ReadFrame{start(3)}, whole(t, 10, 3, 1)...)...)
			},
		}).serve(t)
		c := f.config()
		alive := c.Dialer
		var cable *mute
		c.Dialer = func(ctx context.Context, addr string) (net.Conn, error) {
			conn, err := alive(ctx, addr)
			if err != nil {
				return nil, err
			}
			cable = &mute{Conn: conn, gone: make(chan struct{})}
			return cable, nil
		}
		s := dial(t, c)
		st, err := s.Read(t.Context(), api.ReadRequest{Log: 7, Follow: true})
		require.NoError(t, err)
		o := newOutcomes()
		require.NoError(t, o.append(t.Context(), s, 1, batch(t, 1, 1, 10)))
		o.wait(t, 1)
		require.NoError(t, o.of(t, 1).err)
		time.Sleep(time.Hour) // nothing happens, and nobody is given up
		require.False(t, cable.closed.Load())

		cable.muted.Store(true)
		before := time.Now()
		require.NoError(t, o.append(t.Context(), s, 1, batch(t, 2, 1, 10)))
		next := make(chan error, 1)
		go func() {
			_, err := st.Next(context.Background())
			next <- err
		}()
		tail, err := s.Tail(t.Context(), 7, api.Level{})
		require.NoError(t, err)
		require.EqualValues(t, 9, tail)
		require.Less(t, time.Since(before), 20*time.Second)
		require.NoError(t, <-next)
		o.wait(t, 1)
		require.ErrorIs(t, o.of(t, 2).err, api.ErrUncertain)
		require.NoError(t, st.Close())
		require.NoError(t, s.Close())
		f.stop()
	})
}

// mute is a connection that, once muted, takes everything and passes on
// nothing.
type mute struct {
	net.Conn
	muted, closed atomic.Bool
	gone          chan struct{}
}

func (m *mute) Write(b []byte) (int, error) {
	if m.muted.Load() {
		return len(b), nil
	}
	return m.Conn.Write(b)
}

func (m *mute) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	if m.muted.Load() {
		<-m.gone
		return 0, fmt.Errorf("closed")
	}
	return n, err
}

func (m *mute) Close() error {
	if !m.closed.Swap(true) {
		close(m.gone)
	}
	return m.Conn.Close()
}
