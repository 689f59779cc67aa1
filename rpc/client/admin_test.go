package client_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/client"
	adminv1 "github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

// admin is the admin side of a fake.
type admin struct {
	adminv1.UnimplementedAdminServiceServer
	fake

	object   []*adminv1.ReadObjectResponse
	report   []byte
	cleaning time.Duration // of MeasureRaw; 0: 10 ms
	cleaned  atomic.Bool
}

func (a *admin) serveAdmin(t *testing.T) *client.Admin {
	a.fake.admin = a
	a.serve(t)
	c, err := client.DialAdmin(t.Context(), a.config())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func (a *admin) GetStatus(context.Context, *adminv1.GetStatusRequest) (*adminv1.GetStatusResponse, error) {
	return &adminv1.GetStatusResponse{NodeId: "n1"}, nil
}

func (a *admin) GetConfig(context.Context, *adminv1.GetConfigRequest) (*adminv1.GetConfigResponse, error) {
	return &adminv1.GetConfigResponse{Settings: []*adminv1.Setting{{Key: "k", Value: "v"}}}, nil
}

func (a *admin) SetLogLevel(_ context.Context, r *adminv1.SetLogLevelRequest) (*adminv1.SetLogLevelResponse, error) {
	if r.Level != "debug" {
		return nil, rpc.Status(api.ErrInvalid)
	}
	return &adminv1.SetLogLevelResponse{Previous: "info"}, nil
}

func (a *admin) WatchStats(r *adminv1.WatchStatsRequest, s grpc.ServerStreamingServer[adminv1.WatchStatsResponse]) error {
	for i := range uint64(3) {
		if err := s.Send(&adminv1.WatchStatsResponse{Stats: &adminv1.Stats{Creates: i + r.IntervalMicros}}); err != nil {
			return err
		}
	}
	return rpc.Status(api.ErrClosed)
}

func (a *admin) ReadObject(r *adminv1.ReadObjectRequest, s grpc.ServerStreamingServer[adminv1.ReadObjectResponse]) error {
	if r.Key != "k" {
		return rpc.Status(api.ErrNotFound)
	}
	for _, m := range a.object {
		if err := s.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func (a *admin) Verify(_ *adminv1.VerifyRequest, s grpc.ServerStreamingServer[adminv1.VerifyResponse]) error {
	for i := range uint64(2) {
		p := &adminv1.VerifyProgress{Objects: i + 1, Bytes: 10 * (i + 1)}
		if err := s.Send(&adminv1.VerifyResponse{Kind: &adminv1.VerifyResponse_Progress{Progress: p}}); err != nil {
			return err
		}
	}
	if a.report == nil {
		return nil
	}
	return s.Send(&adminv1.VerifyResponse{Kind: &adminv1.VerifyResponse_Report{Report: a.report}})
}

// MeasureRaw answers with how many requests there were; one for no objects is
// forbidden, one for two takes for ever. At the end it takes its time to clean up.
func (a *admin) MeasureRaw(s grpc.BidiStreamingServer[adminv1.MeasureRawRequest, adminv1.MeasureRawResponse]) error {
	defer func() {
		time.Sleep(cmp.Or(a.cleaning, 10*time.Millisecond))
		a.cleaned.Store(true)
	}()
	for i := uint64(1); ; i++ {
		r, err := s.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case r.Objects == 0:
			return rpc.Status(api.ErrForbidden)
		case r.Objects == 2:
			_, _ = s.Recv()
			return nil
		}
		if err := s.Send(&adminv1.MeasureRawResponse{ElapsedMicros: i}); err != nil {
			return err
		}
	}
}

// TestMeasureRaw: what was made to measure is removed when Close returns, however
// it came to that; where nobody can say so, Close does not.
func TestMeasureRaw(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		a := &admin{}
		c := a.serveAdmin(t)
		m, err := c.MeasureRaw(t.Context())
		require.NoError(t, err)
		for i := range uint64(3) {
			r, err := m.Measure(t.Context(), &adminv1.MeasureRawRequest{Objects: 1})
			require.NoError(t, err)
			require.Equal(t, i+1, r.ElapsedMicros)
		}
		require.False(t, a.cleaned.Load())
		require.NoError(t, m.Close())
		require.True(t, a.cleaned.Swap(false))
		require.NoError(t, m.Close(), "it is closed")

		m, err = c.MeasureRaw(t.Context())
		require.NoError(t, err)
		_, err = m.Measure(t.Context(), &adminv1.MeasureRawRequest{})
		require.ErrorIs(t, err, api.ErrForbidden)
		require.NoError(t, m.Close())

		m, err = c.MeasureRaw(t.Context())
		require.NoError(t, err)
		a.cleaned.Store(false)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err = m.Measure(ctx, &adminv1.MeasureRawRequest{Objects: 2})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, m.Close())
		require.True(t, a.cleaned.Load())

		m, err = c.MeasureRaw(t.Context())
		require.NoError(t, err)
		_, err = m.Measure(t.Context(), &adminv1.MeasureRawRequest{Objects: 1})
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.ErrorIs(t, m.Close(), api.ErrUncertain)
		require.ErrorIs(t, m.Close(), api.ErrUncertain, "still")
		_, err = c.MeasureRaw(t.Context())
		require.ErrorIs(t, err, api.ErrClosed)
		time.Sleep(time.Second) // the node cleans up
	})
}

// TestMeasureRawWaits: as long as the node may take to remove what it made, and
// no longer: it may hang.
func TestMeasureRawWaits(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		for took, want := range map[time.Duration]error{
			rpc.MeasuredRemoval: nil, rpc.MeasuredRemoval + time.Minute: api.ErrUncertain,
		} {
			a := &admin{cleaning: took}
			m, err := a.serveAdmin(t).MeasureRaw(t.Context())
			require.NoError(t, err)
			_, err = m.Measure(t.Context(), &adminv1.MeasureRawRequest{Objects: 1})
			require.NoError(t, err)
			require.ErrorIs(t, m.Close(), want, "%v", took)
		}
		time.Sleep(time.Hour) // the node that took too long goes on
	})
}

func TestAdmin(t *testing.T) {
	a := &admin{report: []byte("{}")}
	c := a.serveAdmin(t)
	hello, err := c.Hello(t.Context())
	require.NoError(t, err)
	require.Equal(t, "c1", hello.ClusterId)
	status, err := c.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, "n1", status.NodeId)
	settings, err := c.Config(t.Context())
	require.NoError(t, err)
	require.Equal(t, "v", settings[0].Value)
	previous, err := c.SetLogLevel(t.Context(), "debug")
	require.NoError(t, err)
	require.Equal(t, "info", previous)
	_, err = c.SetLogLevel(t.Context(), "loud")
	require.ErrorIs(t, err, api.ErrInvalid)

	require.NoError(t, c.Health(t.Context()))
	a.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	err = c.Health(t.Context())
	require.ErrorIs(t, err, api.ErrUnavailable)
	require.ErrorContains(t, err, "NOT_SERVING")
}

func TestWatchStats(t *testing.T) {
	c := (&admin{}).serveAdmin(t)
	var got []uint64
	var last error
	for s, err := range c.WatchStats(t.Context(), time.Millisecond) {
		if last = err; err == nil {
			got = append(got, s.Creates)
		}
	}
	require.Equal(t, []uint64{1000, 1001, 1002}, got)
	require.ErrorIs(t, last, api.ErrUnavailable)
	for _, err := range c.WatchStats(t.Context(), 0) {
		require.NoError(t, err)
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range c.WatchStats(ctx, 0) {
		require.ErrorIs(t, err, context.Canceled)
	}
}

func TestReadObject(t *testing.T) {
	piece := func(size uint64, data string) *adminv1.ReadObjectResponse {
		return &adminv1.ReadObjectResponse{Size: size, Data: []byte(data)}
	}
	for want, object := range map[string][]*adminv1.ReadObjectResponse{
		"abcde": {piece(5, "ab"), piece(0, "cd"), piece(0, "e")},
		"":      nil,
	} {
		c := (&admin{object: object}).serveAdmin(t)
		b, err := c.ReadObject(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, want, string(b))
		_, err = c.ReadObject(t.Context(), "x")
		require.ErrorIs(t, err, api.ErrNotFound)
	}
	for _, object := range [][]*adminv1.ReadObjectResponse{
		{piece(5, "abcd")}, {piece(5, "abcdef")}, {piece(1<<40, "a")}, {piece(0, "a")},
	} {
		_, err := (&admin{object: object}).serveAdmin(t).ReadObject(t.Context(), "k")
		require.ErrorContains(t, err, "nonsense")
	}
}

func TestVerify(t *testing.T) {
	a := &admin{report: []byte(`{"problems":[]}`)}
	c := a.serveAdmin(t)
	var seen [][2]uint64
	report, err := c.Verify(t.Context(), func(objects, bytes uint64) { seen = append(seen, [2]uint64{objects, bytes}) })
	require.NoError(t, err)
	require.JSONEq(t, `{"problems":[]}`, string(report))
	require.Equal(t, [][2]uint64{{1, 10}, {2, 20}}, seen)
	_, err = c.Verify(t.Context(), nil)
	require.NoError(t, err)
	a.report = nil
	_, err = c.Verify(t.Context(), nil)
	require.ErrorContains(t, err, "nonsense")
}
