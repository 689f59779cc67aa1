package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/wal/api"
)

// fakeServer answers as the admin side of a server does, with made-up times.
type fakeServer struct {
	benchAdmin
	refuse  error // of MeasureRaw
	asked   []*adminv1.MeasureRawRequest
	elapsed func(r *adminv1.MeasureRawRequest) time.Duration
}

func (f *fakeServer) MeasureRaw(context.Context) (measuring, error) { return f, nil }

func (f *fakeServer) Measure(_ context.Context, r *adminv1.MeasureRawRequest) (*adminv1.MeasureRawResponse, error) {
	f.asked = append(f.asked, r)
	if f.refuse != nil {
		return nil, f.refuse
	}
	took := uint64(f.elapsed(r).Microseconds())
	a := &adminv1.MeasureRawResponse{ElapsedMicros: took, CpuMicros: took / 2}
	for range r.GetObjects() {
		a.CreateMicros = append(a.CreateMicros, took/uint64(r.GetObjects()))
	}
	return a, nil
}

// Large creates are asked for in portions that a server takes, small ones as
// many as fit into the time.
func TestRemoteRaw(t *testing.T) {
	for _, c := range []struct {
		name     string
		bytes    int64
		smallFor time.Duration
		small    time.Duration // one create
		asked    []string      // object bytes × objects, concurrency
	}{
		{"at least two windows", 1, 0, time.Millisecond, []string{"8388608x16/8", "1344x20/1"}},
		{"as many as the part had", 1 << 30, 0, time.Millisecond, []string{"8388608x128/8", "1344x20/1"}},
		{"more than at a time", 9 << 30, 0, time.Millisecond, []string{"8388608x512/8", "8388608x512/8", "8388608x128/8", "1344x20/1"}},
		{"small ones for a while", 1, 300 * time.Millisecond, time.Millisecond, []string{"8388608x16/8", "1344x20/1", "1344x280/1"}},
		{"not too many", 1, time.Hour, time.Millisecond, []string{"8388608x16/8", "1344x20/1", "1344x1980/1"}},
		{"slow ones", 1, time.Second, time.Second, []string{"8388608x16/8", "1344x20/1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeServer{elapsed: func(r *adminv1.MeasureRawRequest) time.Duration {
				if r.GetConcurrency() == 1 {
					return time.Duration(r.GetObjects()) * c.small
				}
				return time.Duration(r.GetObjects()) * 10 * time.Millisecond
			}}
			cfg := &benchConfig{kind: "append", size: 1024}
			cfg.log.Window = 8
			r := &remote{cfg: cfg, admin: f}
			p, err := r.rawCreates(t.Context(), c.bytes, c.smallFor)
			require.NoError(t, err)
			var asked []string
			large, small := int64(0), int64(0)
			for _, q := range f.asked {
				asked = append(asked, fmt.Sprintf("%dx%d/%d", q.GetObjectBytes(), q.GetObjects(), q.GetConcurrency()))
				if q.GetConcurrency() == 1 {
					small += int64(q.GetObjects())
				} else {
					large += int64(q.GetObjects())
				}
			}
			require.Equal(t, c.asked, asked)
			require.Empty(t, p.missing)
			require.Equal(t, large*8<<20, p.bytes)
			require.Equal(t, time.Duration(large)*10*time.Millisecond, p.took)
			require.Equal(t, p.took/2, p.cpu)
			require.Equal(t, small, p.small.TotalCount())
			require.InEpsilon(t, float64(c.small), float64(p.small.ValueAtPercentile(50)), 0.01)
		})
	}
}

// A server that measures nothing is asked once, and everything else goes on;
// one that is gone ends the benchmark.
func TestRemoteRawRefused(t *testing.T) {
	f := &fakeServer{refuse: fmt.Errorf("%w: start it with --allow-bench", api.ErrForbidden)}
	r := &remote{cfg: &benchConfig{kind: "append", size: 1024}, admin: f}
	for range 2 {
		p, err := r.rawCreates(t.Context(), 1, time.Second)
		require.NoError(t, err)
		require.Equal(t, f.refuse.Error(), p.missing)
		require.Zero(t, p.bytes+p.small.TotalCount())
		p, err = r.rawReads(t.Context(), time.Second)
		require.NoError(t, err)
		require.Equal(t, f.refuse.Error(), p.missing)
	}
	require.Len(t, f.asked, 1)

	r = &remote{cfg: r.cfg, admin: &fakeServer{refuse: wpd.ErrUnavailable}}
	_, err := r.rawCreates(t.Context(), 1, time.Second)
	require.ErrorIs(t, err, wpd.ErrUnavailable)
}

// What a result says where there is nothing to compare with.
func TestRatio(t *testing.T) {
	for _, c := range []struct {
		name  string
		cfg   benchConfig
		raw   rawPart
		ratio float64
		text  string
	}{
		{"of the raw rate", benchConfig{}, rawPart{bytes: 2e6, took: time.Second, small: newLatencies()}, 0.5, "0.50 of the raw rate"},
		{"a rate was given", benchConfig{rate: 10}, rawPart{bytes: 2e6, took: time.Second, small: newLatencies()}, 0, "none: the rate was given"},
		{"forbidden", benchConfig{}, rawPart{missing: "forbidden", small: newLatencies()}, 0, "none: there is no raw limit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newBenchResult(&c.cfg)
			r.add(&part{entries: 1, bytes: 1e6, took: time.Second, latency: newLatencies()}, &c.raw)
			r.finish(newTimeline())
			require.Equal(t, c.ratio, r.Ratio)
			require.Equal(t, c.text, r.ratioText(ink{}))
			require.Equal(t, c.raw.missing, r.RawMissing)
			if c.raw.missing != "" {
				require.Equal(t, "(forbidden)", r.rawText(ink{}))
				require.Zero(t, r.RawMBPerS)
			}
		})
	}
}

func TestStoreRequests(t *testing.T) {
	for _, c := range []struct {
		name, metrics string
		want          uint64
		why           string
	}{
		{"all series", "# HELP wpd_blobstore_requests_total x\nwpd_blobstore_requests_total{op=\"create\",result=\"ok\"} 3\nwpd_blobstore_requests_total{op=\"list\",result=\"ok\"} 2e3\n", 2003, ""},
		{"no labels", "wpd_blobstore_requests_total 7\n", 7, ""},
		{"others", "wpd_blobstore_requests_totals 7\nwpd_other 1\n", 0, "no metric"},
		{"no number", "wpd_blobstore_requests_total{} x\n", 0, "has no number"},
		{"negative", "wpd_blobstore_requests_total -1\n", 0, "has no number"},
		{"no value", "wpd_blobstore_requests_total{op=\"x\"}\n", 0, "has no value"},
		{"a long line", strings.Repeat("x", 2<<20), 0, "too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				require.Equal(t, "/metrics", r.URL.Path)
				fmt.Fprint(w, c.metrics)
			}))
			defer s.Close()
			status := &adminv1.GetStatusResponse{Listeners: []*adminv1.Listener{{Name: "grpc", Addr: "x"}, {Name: "http", Addr: s.Listener.Addr().String()}}}
			n, err := storeRequests(t.Context(), "127.0.0.1", status)
			if c.why != "" {
				require.ErrorContains(t, err, c.why)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, n)
		})
	}
	_, err := storeRequests(t.Context(), "127.0.0.1", &adminv1.GetStatusResponse{})
	require.ErrorContains(t, err, "no HTTP listener")
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	_, err = storeRequests(t.Context(), "127.0.0.1", &adminv1.GetStatusResponse{Listeners: []*adminv1.Listener{{Name: "http", Addr: s.Listener.Addr().String()}}})
	require.ErrorContains(t, err, "404")
}

func TestMetricsAddr(t *testing.T) {
	for _, c := range []struct{ dialled, http, want, why string }{
		{"127.0.0.1", "127.0.0.1:7073", "127.0.0.1:7073", ""},
		{"localhost", "[::1]:7073", "[::1]:7073", ""},
		{"10.0.0.5", "[::]:7073", "10.0.0.5:7073", ""},
		{"10.0.0.5", "0.0.0.0:7073", "10.0.0.5:7073", ""},
		{"10.0.0.5", "10.0.0.6:7073", "10.0.0.6:7073", ""},
		{"10.0.0.5", "127.0.0.1:7073", "", "its own loopback"},
		{"10.0.0.5", "nonsense", "", "missing port"},
	} {
		got, err := metricsAddr(c.dialled, &adminv1.GetStatusResponse{Listeners: []*adminv1.Listener{{Name: "http", Addr: c.http}}})
		require.Equal(t, c.want, got, c)
		if c.why != "" {
			require.ErrorContains(t, err, c.why, c)
		}
	}
}
