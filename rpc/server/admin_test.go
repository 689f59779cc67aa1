package server_test

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/server"
	adminv1 "github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

// admin is a node that does what a test says.
type admin struct {
	stats  uint64
	level  string
	object func(ctx context.Context, key string) ([]byte, error)
	verify func(ctx context.Context, progress func(objects, bytes uint64)) ([]byte, error)
	raw    func(ctx context.Context, r *adminv1.MeasureRawRequest) (*adminv1.MeasureRawResponse, error)

	measuring atomic.Int64 // that were begun, and not ended
}

func (a *admin) Status(context.Context) (*adminv1.GetStatusResponse, error) {
	return &adminv1.GetStatusResponse{NodeId: "n1", Stats: a.Stats()}, nil
}

func (a *admin) Stats() *adminv1.Stats {
	a.stats++
	return &adminv1.Stats{Creates: a.stats, NowMicros: time.Now().UnixMicro()}
}

func (a *admin) Settings() []*adminv1.Setting {
	return []*adminv1.Setting{{Key: "k", Value: "v", Source: "flag"}}
}

func (a *admin) SetLogLevel(level string) (string, error) {
	previous := a.level
	a.level = level
	return previous, nil
}

func (a *admin) ReadObject(ctx context.Context, key string) ([]byte, error) {
	return a.object(ctx, key)
}

func (a *admin) Verify(ctx context.Context, progress func(objects, bytes uint64)) ([]byte, error) {
	return a.verify(ctx, progress)
}

func (a *admin) MeasureRaw(context.Context) (server.Measuring, error) {
	a.measuring.Add(1)
	return (*measuring)(a), nil
}

// measuring is the measurements of an admin.
type measuring admin

func (m *measuring) Measure(ctx context.Context, r *adminv1.MeasureRawRequest) (*adminv1.MeasureRawResponse, error) {
	return m.raw(ctx, r)
}

func (m *measuring) End() { m.measuring.Add(-1) }

func serveAdmin(t *testing.T, a *admin) (adminv1.AdminServiceClient, *served) {
	t.Helper()
	s := serve(t, server.Config{Logs: &script{}, Admin: a})
	return adminv1.NewAdminServiceClient(s.conn()), s
}

func TestAdminCalls(t *testing.T) {
	a := &admin{level: "info"}
	client, _ := serveAdmin(t, a)
	status, err := client.GetStatus(t.Context(), &adminv1.GetStatusRequest{})
	require.NoError(t, err)
	require.Equal(t, "n1", status.NodeId)
	config, err := client.GetConfig(t.Context(), &adminv1.GetConfigRequest{})
	require.NoError(t, err)
	require.Equal(t, "flag", config.Settings[0].Source)
	level, err := client.SetLogLevel(t.Context(), &adminv1.SetLogLevelRequest{Level: "debug"})
	require.NoError(t, err)
	require.Equal(t, "info", level.Previous)
	require.Equal(t, "debug", a.level)
	_, err = client.SetLogLevel(t.Context(), &adminv1.SetLogLevelRequest{Level: "loud"})
	require.ErrorIs(t, remote(err), api.ErrInvalid)
	require.ErrorContains(t, err, "debug, info, warn, error")
}

func TestWatchStats(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		client, s := serveAdmin(t, &admin{})
		for _, c := range []struct {
			micros uint64
			every  time.Duration
		}{{0, time.Second}, {100_000, 100 * time.Millisecond}, {3600_000_000, time.Hour}} {
			begun := time.Now()
			ctx, cancel := context.WithCancel(t.Context())
			w, err := client.WatchStats(ctx, &adminv1.WatchStatsRequest{IntervalMicros: c.micros})
			require.NoError(t, err)
			for i := range 5 {
				m, err := w.Recv()
				require.NoError(t, err)
				require.NotZero(t, m.Stats.Creates)
				require.Equal(t, time.Duration(i)*c.every, time.Since(begun))
			}
			cancel()
		}
		for _, us := range []uint64{1, 99_999, 3600_000_001, 1 << 63} {
			w, err := client.WatchStats(t.Context(), &adminv1.WatchStatsRequest{IntervalMicros: us})
			require.NoError(t, err)
			_, err = w.Recv()
			require.ErrorIs(t, remote(err), api.ErrInvalid)
		}
		w, err := client.WatchStats(t.Context(), &adminv1.WatchStatsRequest{})
		require.NoError(t, err)
		_, err = w.Recv()
		require.NoError(t, err)
		s.Drain()
		_, err = w.Recv()
		require.ErrorIs(t, remote(err), api.ErrUnavailable)
	})
}

func TestReadObject(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		objects := map[string][]byte{"empty": {}, "a/b": []byte("x"), "large": make([]byte, 16<<20-1)}
		for i := range objects["large"] {
			objects["large"][i] = byte(i >> 8)
		}
		a := &admin{object: func(_ context.Context, key string) ([]byte, error) {
			if b, ok := objects[key]; ok {
				return b, nil
			}
			return nil, fmt.Errorf("object %q: %w", key, api.ErrNotFound)
		}}
		client, s := serveAdmin(t, a)
		read := func(key string) (all []byte, size uint64, err error) {
			r, err := client.ReadObject(t.Context(), &adminv1.ReadObjectRequest{Key: key})
			require.NoError(t, err)
			for {
				m, err := r.Recv()
				if err == io.EOF {
					return all, size, nil
				}
				if err != nil {
					return nil, 0, err
				}
				require.LessOrEqual(t, len(m.Data), 64<<10)
				if all == nil {
					size = m.Size
				}
				all = append(all, m.Data...)
			}
		}
		for key, want := range objects {
			got, size, err := read(key)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got))
			require.EqualValues(t, len(want), size)
		}
		_, _, err := read("nothing")
		require.ErrorIs(t, remote(err), api.ErrNotFound)
		for _, key := range []string{"", ".", "/", "/etc/passwd", "a/../b", "..", "a//b", "a/"} {
			_, _, err := read(key)
			require.ErrorIs(t, remote(err), api.ErrInvalid, "%q", key)
		}
		_, _, err = read(string(make([]byte, 2000)))
		requireAs[*api.LimitError](t, remote(err))

		// Clients that do not read what they asked for hold what is allowed,
		// and only for a while.
		conn := adminv1.NewAdminServiceClient(s.conn())
		for range 10 {
			_, err := conn.ReadObject(t.Context(), &adminv1.ReadObjectRequest{Key: "large"})
			require.NoError(t, err)
		}
		synctest.Wait()
		begun := time.Now()
		_, _, err = read("large")
		require.NoError(t, err)
		require.Equal(t, 2*rpc.StallTimeout, time.Since(begun), "behind ten of them, four at a time")
	})
}

func TestVerify(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		a := &admin{}
		client, s := serveAdmin(t, a)
		run := func() (told []*adminv1.VerifyProgress, report string, err error) {
			v, err := client.Verify(t.Context(), &adminv1.VerifyRequest{})
			require.NoError(t, err)
			for {
				m, err := v.Recv()
				if err == io.EOF {
					return told, report, nil
				}
				if err != nil {
					return told, report, err
				}
				if p := m.GetProgress(); p != nil {
					told = append(told, p)
				} else {
					report = string(m.GetReport())
				}
			}
		}
		a.verify = func(_ context.Context, progress func(uint64, uint64)) ([]byte, error) {
			for i := range 1000 {
				progress(uint64(i), uint64(i*10))
				time.Sleep(time.Millisecond)
			}
			return []byte(`{"ok":true}`), nil
		}
		told, report, err := run()
		require.NoError(t, err)
		require.Equal(t, `{"ok":true}`, report)
		require.Len(t, told, 5, "not for every object")
		require.EqualValues(t, 10*told[4].Objects, told[4].Bytes)

		a.verify = func(context.Context, func(uint64, uint64)) ([]byte, error) { return nil, api.ErrUnavailable }
		_, _, err = run()
		require.ErrorIs(t, remote(err), api.ErrUnavailable)
		a.verify = func(context.Context, func(uint64, uint64)) ([]byte, error) { return make([]byte, 2<<20), nil }
		_, _, err = run()
		requireAs[*api.LimitError](t, remote(err))

		// One at a time, and not beyond the node.
		begun := make(chan struct{})
		a.verify = func(ctx context.Context, _ func(uint64, uint64)) ([]byte, error) {
			close(begun)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		go func() {
			<-begun
			_, err := measure(t, client, &adminv1.MeasureRawRequest{ObjectBytes: 1, Concurrency: 1, Objects: 1})
			requireAs[*api.BusyError](t, err)
			s.Drain()
		}()
		_, _, err = run()
		require.ErrorIs(t, remote(err), api.ErrUnavailable)
		require.ErrorContains(t, err, "about to stop")
	})
}

// measure makes a call with one request.
func measure(t *testing.T, c adminv1.AdminServiceClient, r *adminv1.MeasureRawRequest) (*adminv1.MeasureRawResponse, error) {
	stream, err := c.MeasureRaw(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(r))
	answer, err := stream.Recv()
	if err != nil {
		return nil, remote(err)
	}
	require.NoError(t, stream.CloseSend())
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
	return answer, nil
}

func TestMeasureRaw(t *testing.T) {
	a := &admin{raw: func(_ context.Context, r *adminv1.MeasureRawRequest) (*adminv1.MeasureRawResponse, error) {
		return &adminv1.MeasureRawResponse{ElapsedMicros: uint64(r.Objects)}, nil
	}}
	client, _ := serveAdmin(t, a)
	r, err := measure(t, client, &adminv1.MeasureRawRequest{ObjectBytes: 8 << 20, Concurrency: 64, Objects: 512})
	require.NoError(t, err)
	require.EqualValues(t, 512, r.ElapsedMicros)
	require.Zero(t, a.measuring.Load())
	refused := func(why error) error {
		a.raw = func(context.Context, *adminv1.MeasureRawRequest) (*adminv1.MeasureRawResponse, error) {
			return nil, why
		}
		_, err := measure(t, client, &adminv1.MeasureRawRequest{ObjectBytes: 1, Concurrency: 1, Objects: 4097})
		require.Zero(t, a.measuring.Load(), "an error ends it")
		return err
	}
	require.ErrorIs(t, refused(api.ErrForbidden), api.ErrForbidden)
	limit := &api.LimitError{What: "objects to measure with", Limit: 4096, Value: 4097}
	require.Equal(t, limit, requireAs[*api.LimitError](t, refused(limit)), "the node knows what is too much")
}

// TestMeasureRawEnds: what was measured is ended with the call, however that
// ends: also while a measurement is under way.
func TestMeasureRawEnds(t *testing.T) {
	small := &adminv1.MeasureRawRequest{ObjectBytes: 1, Concurrency: 1, Objects: 1}
	for _, c := range []struct {
		name string
		end  func(stream adminv1.AdminService_MeasureRawClient, cancel func(), s *served)
		is   error
	}{
		{"by the client", func(stream adminv1.AdminService_MeasureRawClient, _ func(), _ *served) { _ = stream.CloseSend() }, io.EOF},
		{"by its going away", func(_ adminv1.AdminService_MeasureRawClient, cancel func(), _ *served) { cancel() }, context.Canceled},
		{"by the node", func(_ adminv1.AdminService_MeasureRawClient, _ func(), s *served) { s.Drain() }, api.ErrUnavailable},
	} {
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, busy: %v", c.name, busy), func(t *testing.T) {
				begun := make(chan struct{}, 2)
				a := &admin{}
				a.raw = func(ctx context.Context, r *adminv1.MeasureRawRequest) (*adminv1.MeasureRawResponse, error) {
					begun <- struct{}{}
					if r.Objects == 2 {
						<-ctx.Done()
						return nil, ctx.Err()
					}
					return &adminv1.MeasureRawResponse{}, nil
				}
				client, s := serveAdmin(t, a)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				stream, err := client.MeasureRaw(ctx)
				require.NoError(t, err)
				for range 2 {
					require.NoError(t, stream.Send(small))
					_, err = stream.Recv()
					require.NoError(t, err)
					<-begun
				}
				require.EqualValues(t, 1, a.measuring.Load(), "one for all requests")
				if busy {
					require.NoError(t, stream.Send(&adminv1.MeasureRawRequest{ObjectBytes: 1, Concurrency: 1, Objects: 2}))
					<-begun
				}
				c.end(stream, cancel, s)
				_, err = stream.Recv()
				if c.is != io.EOF {
					err = remote(err)
				}
				require.ErrorIs(t, err, c.is)
				eventually(t, "it is ended", func() bool { return a.measuring.Load() == 0 })
			})
		}
	}
}
