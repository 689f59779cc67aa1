package node_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

// web asks a node's HTTP listener, and keeps no connection.
func web(t testing.TB, n *node.Node, method, path, body string) (code int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.HTTPAddr().String()+path, strings.NewReader(body))
	require.NoError(t, err)
	r.Close = true
	resp, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	defer resp.Body.Close() //nolint:errcheck // it is read to its end
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

func TestHTTP(t *testing.T) {
	w, _ := serving(t)
	w.Config.Level = new(slog.LevelVar)
	p := start(t, w)
	for _, c := range []struct {
		method, path, body string
		code               int
		answer             string // must be in it
	}{
		{"GET", "/healthz", "", 200, "ok"},
		{"HEAD", "/healthz", "", 200, ""},
		{"GET", "/readyz", "", 200, "ready"},
		{"GET", "/metrics", "", 200, "\nwpd_node_ready 1\n"},
		{"GET", "/metrics", "", 200, "\ngo_goroutines "},
		{"GET", "/metrics", "", 200, "\nprocess_resident_memory_bytes "},
		{"GET", "/", "", 200, "/readyz"},
		{"GET", "/loglevel", "", 200, "info"},
		{"PUT", "/loglevel", "DEBUG\n", 200, "debug"},
		{"GET", "/loglevel", "", 200, "debug"},
		{"PUT", "/loglevel", "loud", 400, `log level "loud": want debug, info, warn or error`},
		{"PUT", "/loglevel", strings.Repeat("x", 1<<20), 400, "want one word"},
		{"PUT", "/loglevel", "", 400, "want debug"},
		{"GET", "/loglevel", "", 200, "debug"},
		{"GET", "/nothing", "", 404, `there is nothing at "/nothing"`},
		{"GET", "/metrics/more", "", 404, "/debug/pprof/"},
		{"POST", "/metrics", "", 405, "POST"},
		{"DELETE", "/loglevel", "", 405, "PUT"},
		{"GET", "/debug/pprof/", "", 200, "goroutine"},
		{"GET", "/debug/pprof/heap?debug=1", "", 200, "heap profile"},
		{"GET", "/debug/pprof/cmdline", "", 200, "node.test"},
		{"POST", "/debug/pprof/symbol", "0x1", 200, "num_symbols"},
	} {
		code, answer := web(t, p.Node, c.method, c.path, c.body)
		require.Equal(t, c.code, code, "%s %s: %s", c.method, c.path, answer)
		require.Contains(t, answer, c.answer, "%s %s", c.method, c.path)
	}
	stop(t, p)
}

// TestHTTPBounds: a header without an end, or too many connections, cost
// nobody else anything.
func TestHTTPBounds(t *testing.T) {
	w, _ := serving(t)
	p := start(t, w)
	long, err := net.Dial("tcp", p.Node.HTTPAddr().String())
	require.NoError(t, err)
	go func() {
		_, _ = io.WriteString(long, "GET /healthz HTTP/1.1\r\nHost: x\r\nX: ")
		for range 1000 { // until it is cut off
			if _, err := long.Write(make([]byte, 1<<10)); err != nil {
				return
			}
		}
	}()
	got, err := io.ReadAll(long)
	if err == nil {
		require.Contains(t, string(got), "431")
	}
	_ = long.Close()
	code, _ := web(t, p.Node, "GET", "/healthz", "")
	require.Equal(t, 200, code)

	var silent []net.Conn
	for range 200 {
		c, err := net.Dial("tcp", p.Node.HTTPAddr().String())
		require.NoError(t, err)
		silent = append(silent, c)
	}
	for _, c := range silent {
		_ = c.Close()
	}
	code, _ = web(t, p.Node, "GET", "/healthz", "")
	require.Equal(t, 200, code)
	stop(t, p)
}

// TestReady: what keeps a node from appending or reading is named, and when it
// is over, the node is ready again.
func TestReady(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w, _ := newWorld(t)
		p := start(t, w)
		require.NoError(t, p.Node.Ready(t.Context()))

		reads := p.Faults.Count(blobtest.Read)
		require.NoError(t, p.Node.Ready(t.Context()))
		require.Equal(t, reads, p.Faults.Count(blobtest.Read), "the store is not asked each time")
		time.Sleep(10 * time.Second)
		broken := p.Faults.Add(blobtest.Fault{Kind: blobtest.Read, Before: errors.New("broken wire")})
		err := p.Node.Ready(t.Context())
		require.ErrorContains(t, err, "bucket: ")
		require.ErrorContains(t, err, "broken wire")
		require.Positive(t, broken.Hits())
		broken.Remove()
		time.Sleep(10 * time.Second)
		require.NoError(t, p.Node.Ready(t.Context()))

		log := create(t, p, "a")
		wr, err := log.Writer(t.Context())
		require.NoError(t, err)
		rule := p.Faults.Add(blobtest.Fault{Kind: blobtest.Create, Hang: true, Prefix: "chains/"})
		pending := wr.AppendAsync(t.Context(), wpd.Entry{Data: []byte("x")})
		time.Sleep(9 * time.Second)
		require.NoError(t, p.Node.Ready(t.Context()), "slow is not broken")
		time.Sleep(3 * time.Second)
		require.Equal(t, 1, rule.Waiting())
		require.ErrorContains(t, p.Node.Ready(t.Context()), "appends: unavailable: appends have been waiting for 12s")
		rule.Release()
		_, err = pending.Wait(t.Context())
		require.NoError(t, err)
		require.NoError(t, p.Node.Ready(t.Context()))
		require.NoError(t, wr.Close())

		p.Node.Logs().Fail(errors.New("something terrible"))
		require.ErrorContains(t, p.Node.Ready(t.Context()), "something terrible")
		p.Crash()
		require.ErrorContains(t, p.Node.Ready(t.Context()), "draining")
	})
}

// TestNotReady: /readyz says why.
func TestNotReady(t *testing.T) {
	w, _ := serving(t)
	p := start(t, w)
	p.Node.Logs().Fail(errors.New("something terrible"))
	code, answer := web(t, p.Node, "GET", "/readyz", "")
	require.Equal(t, 503, code)
	require.Regexp(t, "^not ready\nappends: .*something terrible\n$", answer)
	code, answer = web(t, p.Node, "GET", "/metrics", "")
	require.Equal(t, 200, code)
	require.Contains(t, answer, "\nwpd_node_ready 0\n")
	require.Contains(t, answer, "\nwpd_wal_failed 1\n")
	p.Crash()
}

// TestLevelOfAnother: a program that gave its own logger keeps its level.
func TestLevelOfAnother(t *testing.T) {
	w, _ := serving(t)
	p := start(t, w)
	code, _ := web(t, p.Node, "GET", "/loglevel", "")
	require.Equal(t, 404, code)
	code, _ = web(t, p.Node, "PUT", "/loglevel", "debug")
	require.Equal(t, 403, code)
	_, err := p.Node.SetLogLevel("debug")
	require.ErrorIs(t, err, api.ErrForbidden)
	stop(t, p)
}

// TestMetricsNeedARegistry: metrics that nobody can gather are no metrics.
func TestMetricsNeedARegistry(t *testing.T) {
	_, err := node.Open(context.Background(), node.Config{Bucket: "mem://", HTTPListen: "127.0.0.1:0", Registerer: onlyRegisterer{}})
	require.ErrorContains(t, err, "no prometheus.Gatherer")
}
