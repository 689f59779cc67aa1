package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/rpc/client"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/wal/api"
)

// serving makes a world whose nodes listen on the loopback.
func serving(t testing.TB) (*testcluster.World, underStore) {
	t.Helper()
	w, mem := newWorld(t)
	w.Config.Listen, w.Config.HTTPListen = "127.0.0.1:0", "127.0.0.1:0"
	return w, mem
}

func dialAdmin(t testing.TB, n *node.Node) *client.Admin {
	t.Helper()
	a, err := client.DialAdmin(t.Context(), client.Config{Addrs: []string{n.Addr().String()}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// TestListenersOfOthers: what is not the loopback needs to be asked for, and is
// warned of. Refused, it has left no trace.
func TestListenersOfOthers(t *testing.T) {
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0"} {
		for _, web := range []bool{false, true} {
			dir := t.TempDir()
			c := node.Config{Bucket: "file://" + dir + "/objects", DataDir: dir + "/node"}
			name := "grpc"
			if c.Listen = addr; web {
				c.Listen, c.HTTPListen, name = "", addr, "http"
			}
			_, err := node.Open(t.Context(), c)
			refused, _ := errors.AsType[*node.InsecureError](err)
			require.NotNil(t, refused, "%v", err)
			require.Equal(t, name, refused.Listener)
			require.Equal(t, addr, refused.Addr)
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left)
		}
	}
	for _, insecure := range []bool{true, false} {
		var log lockedBuffer
		addr := "localhost:0"
		if insecure {
			addr = ":0"
		}
		n, err := node.Open(t.Context(), node.Config{
			Bucket: "mem://", Listen: addr, Insecure: insecure, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		require.NoError(t, err)
		require.Nil(t, n.HTTPAddr())
		require.NotZero(t, n.Addr().(*net.TCPAddr).Port)
		require.NoError(t, n.Close())
		require.Equal(t, insecure, bytes.Contains([]byte(log.String()), []byte("no TLS yet")))
	}
}

// TestAddressInUse: the second node is refused before it touches anything.
func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close() //nolint:errcheck // a test's
	dir := t.TempDir()
	for _, web := range []bool{false, true} {
		c := node.Config{Bucket: "file://" + dir + "/objects", DataDir: dir + "/node", Listen: "127.0.0.1:0", HTTPListen: l.Addr().String()}
		if !web {
			c.Listen, c.HTTPListen = c.HTTPListen, ""
		}
		_, err := node.Open(t.Context(), c)
		require.ErrorIs(t, err, syscall.EADDRINUSE)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

// TestBucketThatDoesNotAnswer: a node says so, and does not wait for it to get
// better.
func TestBucketThatDoesNotAnswer(t *testing.T) {
	denies := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer denies.Close()
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_EC2_METADATA_DISABLED": "true"} {
		t.Setenv(name, value)
	}
	dir := filepath.Join(t.TempDir(), "node")
	_, err := node.Open(t.Context(), node.Config{DataDir: dir, Bucket: "s3://wpd?region=x&use_path_style=true&endpoint=" + denies.URL})
	refused, _ := errors.AsType[*node.BucketError](err)
	require.NotNil(t, refused, "%v", err)
	require.Contains(t, refused.URL, "s3://wpd")
	require.ErrorContains(t, err, "403")
	require.NoDirExists(t, dir)
}

// sender hands batches to a node over the wire, and sends nothing twice.
type sender struct {
	*client.Service
	log     fragment.LogID
	o       api.Opened
	seq     uint64
	answers chan answer
}

func newSender(t *testing.T, n *node.Node, name string) *sender {
	t.Helper()
	c, err := client.Dial(t.Context(), client.Config{Addrs: []string{n.Addr().String()}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	info, err := c.Create(t.Context(), name, api.LogConfig{})
	require.NoError(t, err)
	o, err := c.OpenProducer(t.Context(), api.OpenRequest{Log: info.ID})
	require.NoError(t, err)
	return &sender{Service: c, log: info.ID, o: o, answers: make(chan answer, 1000)}
}

// send sends a batch of one entry, and returns its length in bytes.
func (s *sender) send(t *testing.T) int {
	t.Helper()
	s.seq++
	b := text(s.o, s.seq, fmt.Sprint("entry ", s.seq))
	require.NoError(t, s.Append(t.Context(), api.AppendRequest{Log: s.log, Batch: b},
		func(ack api.Ack, err error) { s.answers <- answer{ack, err} }))
	return b.Len()
}

// next is the next answer.
func (s *sender) next(t *testing.T) answer {
	t.Helper()
	select {
	case a := <-s.answers:
		return a
	case <-time.After(20 * time.Second):
		t.Fatal("no answer")
		return answer{}
	}
}

// TestDrain: what a node took before it closes is answered, whatever the flush
// interval is, and is there afterwards.
func TestDrain(t *testing.T) {
	w, _ := serving(t)
	w.Config.Log.FlushInterval = 10 * time.Minute
	p := start(t, w)
	senders := make([]*sender, 5)
	const each = 50
	taken := 0
	for i := range senders {
		senders[i] = newSender(t, p.Node, fmt.Sprint("log/", i))
	}
	senders[0].send(t) // goes at once; what follows waits for the interval
	require.NoError(t, senders[0].next(t).err)
	for _, s := range senders {
		for range each {
			taken += s.send(t)
		}
	}
	require.Eventually(t, func() bool { return p.Node.Stats().GetInFlightBytes() == uint64(taken) }, 20*time.Second, time.Millisecond)
	for _, s := range senders {
		require.Empty(t, s.answers)
	}
	stop(t, p)
	for _, s := range senders {
		for range each {
			require.NoError(t, s.next(t).err)
		}
	}
	p = start(t, w)
	for i, s := range senders {
		log, err := p.Client().Log(t.Context(), fmt.Sprint("log/", i))
		require.NoError(t, err)
		tail, err := log.Tail(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, s.seq+1, tail)
	}
	stop(t, p)
}

// TestDrainGivesUp: a store that hangs keeps a node from closing for no longer
// than its close timeout, and clients hear that nobody knows.
func TestDrainGivesUp(t *testing.T) {
	w, _ := serving(t)
	w.Config.CloseTimeout = 300 * time.Millisecond
	p := start(t, w)
	s := newSender(t, p.Node, "a")
	rule := p.Faults.Add(blobtest.Fault{Kind: blobtest.Create, Hang: true, Prefix: "chains/"})
	s.send(t)
	require.NoError(t, rule.Wait(t.Context(), 1))
	require.ErrorIs(t, p.Node.Close(), context.DeadlineExceeded)
	require.ErrorIs(t, s.next(t).err, api.ErrUncertain)
	p.Crash()
}

// TestDrainRefuses: a node that drains says that it is closing, which a client
// takes for "not now".
func TestDrainRefuses(t *testing.T) {
	w, _ := serving(t)
	p := start(t, w)
	s := newSender(t, p.Node, "a")
	rule := p.Faults.Add(blobtest.Fault{Kind: blobtest.Create, Hang: true, Prefix: "chains/"})
	s.send(t)
	require.NoError(t, rule.Wait(t.Context(), 1))
	closed := make(chan error, 1)
	go func() { closed <- p.Stop() }()
	require.Eventually(t, func() bool {
		s, err := p.Node.Status(t.Context())
		return err == nil && s.GetDraining()
	}, 10*time.Second, time.Millisecond)
	require.ErrorContains(t, p.Node.Ready(t.Context()), "draining")
	_, err := p.Node.Verify(t.Context(), nil)
	require.ErrorIs(t, err, api.ErrClosed)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = s.Create(ctx, "b", api.LogConfig{})
	require.ErrorIs(t, err, api.ErrUnavailable)
	rule.Release()
	require.NoError(t, <-closed)
	require.NoError(t, s.next(t).err, "what was taken is answered")
}

// TestListenerThatEnds: a node that nobody can reach any more says that it has
// failed.
func TestListenerThatEnds(t *testing.T) {
	w, _ := serving(t)
	p := start(t, w)
	require.NoError(t, node.CloseListener(p.Node))
	<-p.Node.Failed()
	require.ErrorContains(t, p.Node.Err(), "grpc listener")
	p.Crash()
}
