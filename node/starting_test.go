package node_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/rpc/client"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// operator dials the admin side of a node of a cluster.
func operator(t *testing.T, c *testcluster.Cluster, i int) *client.Admin {
	t.Helper()
	a, err := client.DialAdmin(t.Context(), client.Config{
		Addrs: []string{c.Node(i).Addr()},
		Dialer: func(ctx context.Context, addr string) (net.Conn, error) {
			return c.Net.Host("operator").Dial(ctx, addr)
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// isStarting holds a node that is not open yet to what it says of itself.
func isStarting(t *testing.T, a *client.Admin) {
	t.Helper()
	s, err := a.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, "the node is starting", s.GetRefusal())
	require.Empty(t, s.GetFailure())
	require.Equal(t, "n1", s.GetNodeId())
	for stats, err := range a.WatchStats(t.Context(), 0) {
		require.NoError(t, err)
		require.Zero(t, stats.GetAppendedBatches())
		break
	}
}

// TestAliveWhileStarting: operators see that a node which is not open yet is
// alive, and why it is not ready: here its store hangs.
func TestAliveWhileStarting(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	url := "http://" + free.Addr().String()
	require.NoError(t, free.Close())
	get := func(path string) (code int, text string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, http.NoBody)
		require.NoError(t, err)
		q.Close = true
		r, err := http.DefaultTransport.RoundTrip(q)
		require.NoError(t, err)
		defer r.Body.Close() //nolint:errcheck // it is read to its end
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return r.StatusCode, string(b)
	}
	faults := blobtest.NewFaults(blobtest.NewMem())
	w := worldOn(t, faults)
	w.Config.HTTPListen = free.Addr().String()
	rule := faults.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: "chains/", Hang: true})
	opened := make(chan *testcluster.Proc, 1)
	failed := make(chan error, 1)
	go func() {
		p, err := w.Start(t.Context())
		opened <- p
		failed <- err
	}()
	require.NoError(t, rule.Wait(t.Context(), 1))
	code, _ := get("/healthz")
	require.Equal(t, http.StatusOK, code)
	code, text := get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Equal(t, "not ready\nunavailable: the node is starting\n", text)
	_, text = get("/")
	require.Contains(t, text, "the node is starting\n")
	code, _ = get("/metrics")
	require.Equal(t, http.StatusOK, code)
	require.Empty(t, opened)
	rule.Release()
	p := <-opened
	require.NoError(t, <-failed)
	code, _ = get("/readyz")
	require.Equal(t, http.StatusOK, code)
	_, text = get("/")
	require.Contains(t, text, "wpd node n1\n")
	stop(t, p)
}

// TestStartingAlone: a node whose others are away says that it is starting, and
// breaks down over nothing that it is asked meanwhile, nor over the end of its
// listener.
func TestStartingAlone(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := testcluster.New(t, 3)
		c.Kill(c.All()...)
		opened := make(chan error, 1)
		go func() { opened <- c.Node(0).Start(t.Context()) }()
		c.Await("the node to be asked", func() bool { // as soon as raft runs
			conn, err := c.Net.Host("operator").Dial(t.Context(), c.Node(0).Addr())
			if err == nil {
				err = conn.Close()
			}
			return err == nil
		})
		isStarting(t, operator(t, c, 0))
		require.Empty(t, opened)
		c.Kill(0) // which takes its listeners
		require.Error(t, <-opened)
	})
}

// TestAskedTooSoon: what only the logs of a node can do waits until they are
// open, while the node leads already.
func TestAskedTooSoon(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := testcluster.New(t, 3)
		_, err := c.Client().Create(t.Context(), "a", wpd.LogConfig{})
		require.NoError(t, err)
		c.Kill(0)
		c.Leader()
		rule := c.Node(0).Faults.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: "chains/", Hang: true})
		opened := make(chan error, 1)
		go func() { opened <- c.Node(0).Start(t.Context()) }()
		require.NoError(t, rule.Wait(t.Context(), 1))
		a := operator(t, c, 0)
		isStarting(t, a)
		_, err = c.Node(1).Node().TransferLeader(t.Context(), "n1")
		require.NoError(t, err)

		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, a.DrainNode(soon, "n1", nil), context.DeadlineExceeded)
		done := make(chan error, 2)
		go func() { done <- a.FillNode(t.Context(), "n1") }()
		go func() {
			_, err := a.MoveLog(t.Context(), "a", "n1")
			done <- err
		}()
		synctest.Wait()
		require.Empty(t, done)
		rule.Release()
		require.NoError(t, <-opened)
		require.NoError(t, <-done)
		require.NoError(t, <-done)
		require.Equal(t, 0, c.Writer("a"))
	})
}
