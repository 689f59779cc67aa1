package tamper_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/testcluster/tamper"
	"github.com/wpd-io/wpd/testcluster/tamper/fakes3"
)

// patience bounds what must happen, and what nobody is to wait for.
const patience = time.Minute

// rig is a proxy before a store, and a client of it.
type rig struct {
	*tamper.Proxy
	t      *testing.T
	store  *fakes3.Server
	client *http.Client
}

func newRig(t *testing.T) *rig {
	t.Helper()
	store := fakes3.New()
	server := httptest.NewServer(store)
	t.Cleanup(server.Close)
	p, err := tamper.Start(server.Listener.Addr().String(), rand.New(rand.NewPCG(1, 1)))
	require.NoError(t, err)
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		require.NoError(t, p.Close())
		require.NoError(t, p.Close())
	})
	return &rig{p, t, store, &http.Client{Transport: transport, Timeout: patience}}
}

func (g *rig) url(key string) string { return "http://" + g.Addr() + "/bucket/" + key }

// do makes a request, and returns its status and what came of the body.
func (g *rig) do(ctx context.Context, method, url, body string) (int, string, error) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	require.NoError(g.t, err)
	if method == http.MethodPut {
		req.Header.Set("If-None-Match", "*")
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(got), err
}

// put creates an object, and says what the client heard: a status, or 0 for an
// error.
func (g *rig) put(key string) int {
	g.t.Helper()
	status, _, err := g.do(g.t.Context(), http.MethodPut, g.url(key), "body of "+key)
	require.Equal(g.t, err != nil, status == 0, "%d, %v", status, err)
	return status
}

func (g *rig) there(key string) bool {
	g.t.Helper()
	body, ok := g.store.Object("bucket", key)
	if ok {
		require.Equal(g.t, "body of "+key, string(body))
	}
	return ok
}

// TestCreate: what the client of a create hears of each effect, and what the
// server has got.
func TestCreate(t *testing.T) {
	for _, c := range []struct {
		fault tamper.Fault
		heard int // 0: an error
		there bool
		count tamper.Count
	}{
		{tamper.Fault{}, 200, true, tamper.Count{}},
		{tamper.Fault{Do: tamper.Refuse}, 503, false, tamper.Count{Hits: 1}},
		{tamper.Fault{Do: tamper.Refuse, Status: 409}, 409, false, tamper.Count{Hits: 1}},
		{tamper.Fault{Do: tamper.Cut}, 0, false, tamper.Count{Hits: 1}},
		{tamper.Fault{Do: tamper.Reset}, 0, false, tamper.Count{Hits: 1}},
		{tamper.Fault{Do: tamper.Late, Delay: time.Millisecond}, 200, true, tamper.Count{Hits: 1, Applied: 1}},
		{tamper.Fault{Do: tamper.Lie}, 412, true, tamper.Count{Hits: 1, Applied: 1}},
		{tamper.Fault{Do: tamper.Lie, Status: 500}, 500, true, tamper.Count{Hits: 1, Applied: 1}},
		{tamper.Fault{Do: tamper.Drop}, 0, true, tamper.Count{Hits: 1, Applied: 1}},
		{tamper.Fault{Do: tamper.Slow, Delay: time.Millisecond}, 200, true, tamper.Count{Hits: 1, Applied: 1}},
	} {
		t.Run(fmt.Sprint(c.fault.Do, c.fault.Status), func(t *testing.T) {
			g := newRig(t)
			c.fault.Kind, c.fault.Count = tamper.Create, 1
			r := g.Add(c.fault)
			require.Equal(t, c.heard, g.put("k"))
			require.NoError(t, g.Idle(t.Context(), "/k"))
			require.Equal(t, c.there, g.there("k"))
			require.Equal(t, c.count, r.Count())
			want := 200 // the next one is left alone
			if c.there {
				want = 412
			}
			require.Equal(t, want, g.put("k"))
			require.True(t, g.there("k"))
		})
	}
}

// TestNothingToTamper: effects on what the server has applied, or on an object's
// bytes, leave other answers alone, and don't count them.
func TestNothingToTamper(t *testing.T) {
	g := newRig(t)
	lie := g.Add(tamper.Fault{Do: tamper.Lie, Status: 500, Kind: tamper.Create, Skip: 1, Count: 1})
	short := g.Add(tamper.Fault{Do: tamper.Short, Kind: tamper.Read})
	require.Equal(t, 200, g.put("k"))
	require.Equal(t, 412, g.put("k"))
	status, _, err := g.do(t.Context(), http.MethodGet, g.url("missing"), "")
	require.NoError(t, err)
	require.Equal(t, 404, status)
	require.Zero(t, lie.Count())
	require.Zero(t, short.Count())
	require.Equal(t, 3, g.Reached())
}

func TestRead(t *testing.T) {
	const body = "body of k"
	for _, c := range []struct {
		fault tamper.Fault
		want  string
		torn  bool
	}{
		{tamper.Fault{Do: tamper.Short}, "body of ", false},
		{tamper.Fault{Do: tamper.Short, Bytes: 100}, "", false},
		{tamper.Fault{Do: tamper.Tear, Bytes: 4}, "body ", true},
		{tamper.Fault{Do: tamper.Flip}, "body of j", false},
		{tamper.Fault{Do: tamper.Flip, Bytes: 9}, "cody of k", false},
	} {
		g := newRig(t)
		require.Equal(t, 200, g.put("k"))
		r := g.Add(c.fault)
		status, got, err := g.do(t.Context(), http.MethodGet, g.url("k"), "")
		require.Equal(t, 200, status)
		require.Equal(t, c.torn, errors.Is(err, io.ErrUnexpectedEOF), "%v", err)
		require.Equal(t, c.want, got)
		require.Equal(t, tamper.Count{Hits: 1, Applied: 1}, r.Count())
		stored, _ := g.store.Object("bucket", "k")
		require.Equal(t, body, string(stored))
	}
}

// TestLateAfterTheSecond: a create that its client has given up lands after one
// that came later.
func TestLateAfterTheSecond(t *testing.T) {
	g := newRig(t)
	late := g.Add(tamper.Fault{Do: tamper.Late, Kind: tamper.Create, Count: 2})
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(chan error, 2)
	for _, key := range []string{"first", "alone"} {
		go func() {
			_, _, err := g.do(ctx, http.MethodPut, g.url(key), "body of "+key)
			heard <- err
		}()
	}
	require.NoError(t, late.Wait(t.Context(), 2))
	cancel()
	for range 2 {
		require.ErrorIs(t, <-heard, context.Canceled)
	}
	require.NoError(t, late.Await(t.Context(), func(c tamper.Count) bool { return c.GivenUp == 2 }))
	require.Equal(t, 200, g.put("first"))
	require.False(t, g.there("alone"))
	require.Equal(t, 2, late.Waiting())
	require.ErrorIs(t, g.Idle(ctx, "alone"), context.Canceled)
	late.Release()
	require.Zero(t, late.Waiting())
	require.True(t, g.there("alone"))
	// One of them was refused: the second was first.
	require.Equal(t, tamper.Count{Hits: 2, Applied: 1, GivenUp: 2, Overtaken: 1}, late.Count())
	require.Equal(t, 200, g.put("released"))
}

// TestGivenUp: a client that does not wait any more frees what waits for it.
func TestGivenUp(t *testing.T) {
	for _, do := range []tamper.Effect{tamper.Hang, tamper.Slow} {
		g := newRig(t)
		r := g.Add(tamper.Fault{Do: do})
		ctx, cancel := context.WithCancel(t.Context())
		heard := make(chan error, 1)
		go func() {
			_, _, err := g.do(ctx, http.MethodPut, g.url("k"), "body of k")
			heard <- err
		}()
		require.NoError(t, r.Wait(t.Context(), 1))
		cancel()
		require.ErrorIs(t, <-heard, context.Canceled)
		require.NoError(t, g.Idle(t.Context(), "k"))
		require.Equal(t, do == tamper.Slow, g.there("k"))
		require.Equal(t, 1, r.Count().GivenUp)
	}
}

// TestClear: what hangs is let go, and nothing is tampered with any more.
func TestClear(t *testing.T) {
	g := newRig(t)
	hang := g.Add(tamper.Fault{Do: tamper.Hang})
	heard := make(chan int, 1)
	go func() { heard <- g.put("k") }()
	require.NoError(t, hang.Wait(t.Context(), 1))
	g.Clear()
	require.Zero(t, <-heard)
	require.Equal(t, 200, g.put("k"))
}

// TestClose drops what is held.
func TestClose(t *testing.T) {
	g := newRig(t)
	late := g.Add(tamper.Fault{Do: tamper.Late})
	heard := make(chan int, 1)
	go func() { heard <- g.put("k") }()
	require.NoError(t, late.Wait(t.Context(), 1))
	require.NoError(t, g.Close())
	require.Zero(t, <-heard)
	require.False(t, g.there("k"))
}

// TestMatch: by kind and key, for every provider; so many pass, so many are
// taken; the first rule that matches is it.
func TestMatch(t *testing.T) {
	g := newRig(t)
	rules := map[string]*tamper.Rule{}
	for _, kind := range []tamper.Kind{tamper.Create, tamper.Read, tamper.List, tamper.Delete} {
		rules[string(kind)] = g.Add(tamper.Fault{Kind: kind, Key: "a/b", Do: tamper.Refuse, Status: 400})
	}
	rules["others"] = g.Add(tamper.Fault{Do: tamper.Refuse, Status: 418})
	for _, c := range []struct{ method, path, want string }{
		{"PUT", "/bucket/a/b", "create"},
		{"PUT", "/account/container/a%2Fb", "create"},
		{"POST", "/upload/storage/v1/b/bucket/o?name=a%2Fb&uploadType=multipart", "create"},
		{"GET", "/bucket/a/b", "read"},
		{"HEAD", "/bucket/a/b", "read"},
		{"GET", "/storage/v1/b/bucket/o/a%2Fb?alt=json", "read"},
		{"GET", "/bucket?list-type=2&prefix=a%2Fb", "list"},
		{"GET", "/container?restype=container&comp=list&prefix=a%2Fb", "list"},
		{"GET", "/storage/v1/b/bucket/o?prefix=a%2Fb", "list"},
		{"DELETE", "/bucket/a/b", "delete"},
		{"GET", "/bucket/a/c", "others"},
	} {
		before := rules[c.want].Count().Hits
		_, _, err := g.do(t.Context(), c.method, "http://"+g.Addr()+c.path, "")
		require.NoError(t, err)
		require.Equal(t, before+1, rules[c.want].Count().Hits, "%s %s", c.method, c.path)
	}
	require.Zero(t, g.Reached())

	for _, r := range rules {
		r.Remove()
	}
	g.Add(tamper.Fault{Kind: tamper.Create, Skip: 1, Count: 2, Do: tamper.Refuse})
	g.Add(tamper.Fault{Kind: tamper.Create, Count: 1}) // the first is this one's
	half := g.Add(tamper.Fault{Match: func(r *http.Request) bool { return r.URL.Path == "/bucket/half" }, Chance: 0.5, Do: tamper.Refuse})
	var heard []int
	for i := range 5 {
		heard = append(heard, g.put(fmt.Sprint(i)))
	}
	require.Equal(t, []int{200, 503, 503, 200, 200}, heard)
	for range 100 {
		g.put("half")
	}
	require.InDelta(t, 50, half.Count().Hits, 20)
	require.Equal(t, half.Count().Hits+2, g.Counts()["refuse 503"].Hits, "rules of one name are counted together")
}

// TestHost: one that was signed must not change; any other names the server.
func TestHost(t *testing.T) {
	hosts := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { hosts <- r.Host }))
	defer server.Close()
	p, err := tamper.Start(server.Listener.Addr().String(), nil)
	require.NoError(t, err)
	defer p.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for sign, want := range map[string]string{"": server.Listener.Addr().String(), "AWS4-HMAC-SHA256 x": p.Addr(), "SharedKey x": server.Listener.Addr().String()} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Addr(), nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", sign)
		resp, err := client.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, want, <-hosts, sign)
	}
}

// TestLine: latency and throttling take at least the time that they must, and
// are counted.
func TestLine(t *testing.T) {
	g := newRig(t)
	g.SetLine(tamper.Line{Latency: 40 * time.Millisecond, Jitter: 20 * time.Millisecond})
	start := time.Now()
	require.Equal(t, 200, g.put("latency"))
	require.GreaterOrEqual(t, time.Since(start), 20*time.Millisecond)
	require.Equal(t, 1, g.Counts()[tamper.Latency].Hits)

	g.SetLine(tamper.Line{BytesPerSecond: 1 << 20})
	large := strings.Repeat("x", 100<<10)
	for _, method := range []string{http.MethodPut, http.MethodGet} {
		before := g.Counts()[tamper.Throttle].Hits
		start = time.Now()
		status, got, err := g.do(t.Context(), method, g.url("large"), large)
		require.NoError(t, err)
		require.Equal(t, 200, status)
		require.GreaterOrEqual(t, time.Since(start), 90*time.Millisecond, method)
		require.GreaterOrEqual(t, g.Counts()[tamper.Throttle].Hits-before, 7, method)
		if method == http.MethodGet {
			require.Equal(t, large, got)
		}
	}
	g.Clear()
	counts := g.Counts()
	require.Equal(t, 200, g.put("free"))
	require.Equal(t, counts, g.Counts())
}

// TestRefusals: a provider's client is refused in its own words.
func TestRefusals(t *testing.T) {
	g := newRig(t)
	g.Add(tamper.Fault{Key: "own", Do: tamper.Refuse, Status: 400, Code: "RequestTimeTooSkewed"})
	g.Add(tamper.Fault{Do: tamper.Refuse, RetryAfter: "7"})
	for _, c := range []struct{ header, path, want string }{
		{"", "/bucket/k", "<Code>SlowDown</Code>"},
		{"", "/bucket/own", "<Code>RequestTimeTooSkewed</Code>"},
		{"X-Ms-Version", "/account/container/k", "<Code>ServerBusy</Code>"},
		{"X-Goog-Api-Client", "/bucket/k", `"reason":"backendError"`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.Addr()+c.path, nil)
		require.NoError(t, err)
		if c.header != "" {
			req.Header.Set(c.header, "x")
		}
		resp, err := g.client.Do(req)
		require.NoError(t, err)
		var body bytes.Buffer
		_, err = body.ReadFrom(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Contains(t, body.String(), c.want)
		if c.path != "/bucket/own" {
			require.Equal(t, "7", resp.Header.Get("Retry-After"))
		}
		if c.header == "X-Ms-Version" {
			require.Equal(t, "ServerBusy", resp.Header.Get("X-Ms-Error-Code"))
		}
	}
}
