package client_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/test/bufconn"

	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/client"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

func TestDialInvalid(t *testing.T) {
	for _, addrs := range [][]string{nil, {""}, {"localhost"}, {"localhost:"}, {"localhost:http"}, {"localhost:70000"}, {"a:1", "::1:2"}} {
		_, err := client.Dial(t.Context(), client.Config{Addrs: addrs})
		require.ErrorIs(t, err, api.ErrInvalid, "%q", addrs)
	}
}

// TestDialNobody: the error names each address, and why nobody answers there.
func TestDialNobody(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		dialer := func(ctx context.Context, addr string) (net.Conn, error) {
			if addr == "refused:1" {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
			}
			return nil, errors.New("no such host")
		}
		before := time.Now()
		_, err := client.Dial(t.Context(), client.Config{Addrs: []string{"refused:1", "unknown:2"}, Dialer: dialer})
		require.ErrorIs(t, err, api.ErrUnavailable)
		require.EqualError(t, err, "unavailable: refused:1: connection refused; unknown:2: no such host")
		require.Less(t, time.Since(before), time.Second, "it does not wait for a node")
	})
}

// TestDialSilent: a peer takes the connection, and says nothing.
func TestDialSilent(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		l := bufconn.Listen(1 << 10)
		defer l.Close()
		c := client.Config{Addrs: []string{"silent:1"}, Dialer: func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }}
		held := make(chan net.Conn, 10)
		go func() {
			for {
				peer, err := l.Accept()
				if err != nil {
					close(held)
					return
				}
				held <- peer
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := client.Dial(ctx, c)
		require.ErrorIs(t, err, api.ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "silent:1: takes the connection, but does not answer")

		before := time.Now()
		_, err = client.Dial(t.Context(), c)
		require.ErrorIs(t, err, api.ErrUnavailable)
		require.ErrorContains(t, err, "silent:1: takes the connection, but: ")
		require.Less(t, time.Since(before), 6*time.Second, "also without an end of ctx")
		require.NoError(t, l.Close())
		for peer := range held {
			_ = peer.Close()
		}
	})
}

// TestDialSecond: one of two addresses is dead.
func TestDialSecond(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := (&fake{onTail: func(context.Context, *logv1.GetTailRequest) (*logv1.GetTailResponse, error) {
			return &logv1.GetTailResponse{TailLsn: 5}, nil
		}}).serve(t)
		var dead atomic.Int32
		c := f.config()
		alive := c.Dialer
		c.Addrs = []string{"dead:1", "alive:2"}
		c.Dialer = func(ctx context.Context, addr string) (net.Conn, error) {
			if addr == "dead:1" {
				dead.Add(1)
				return nil, syscall.ECONNREFUSED
			}
			return alive(ctx, addr)
		}
		s := dial(t, c)
		tail, err := s.Tail(t.Context(), 1, api.Level{})
		require.NoError(t, err)
		require.EqualValues(t, 5, tail)
		require.EqualValues(t, 1, dead.Load())
		require.NoError(t, s.Close())
		f.stop()
	})
}

// TestHello: a node that answers, but not as it should.
func TestHello(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		f := (&fake{onHello: func(context.Context) error {
			if calls.Add(1) < 3 {
				return rpc.Status(api.ErrClosed) // it is about to stop, and another one will start
			}
			return nil
		}}).serve(t)
		s := f.client(t)
		require.NoError(t, s.Close())
		require.EqualValues(t, 3, calls.Load())

		f.onHello = func(context.Context) error { return rpc.Status(api.ErrForbidden) }
		_, err := client.Dial(t.Context(), f.config())
		require.ErrorIs(t, err, api.ErrForbidden)

		f.onHello, f.cluster = nil, ""
		_, err = client.Dial(t.Context(), f.config())
		require.ErrorContains(t, err, "nonsense")
		f.stop()
	})
}

// TestMetadata: every call carries its id, and the cluster once it is known.
func TestMetadata(t *testing.T) {
	seen := make(chan [2]string, 10)
	see := func(ctx context.Context) {
		seen <- [2]string{incoming(ctx, rpc.MetadataCluster), incoming(ctx, rpc.MetadataRequest)}
	}
	f := (&fake{
		onHello: func(ctx context.Context) error { see(ctx); return nil },
		onTail: func(ctx context.Context, _ *logv1.GetTailRequest) (*logv1.GetTailResponse, error) {
			see(ctx)
			return &logv1.GetTailResponse{}, nil
		},
		onRead: func(_ *logv1.ReadRequest, s readStream) error { see(s.Context()); return api.ErrInvalid },
		onAppend: func(s appendStream) error {
			see(s.Context())
			return receiveBatches(s, nil, func(b received) error { return send(s, acked(b, 1)) })
		},
	}).serve(t)
	s := f.client(t)
	_, _ = s.Tail(t.Context(), 1, api.Level{})
	_, _ = s.Read(t.Context(), api.ReadRequest{Log: 1})
	o := newOutcomes()
	require.NoError(t, o.append(t.Context(), s, 1, batch(t, 1, 1, 1)))
	o.wait(t, 1)
	ids := make(map[string]bool)
	for i := range 4 {
		got := <-seen
		require.Equal(t, i > 0, got[0] == "c1", "the cluster is %q in call %d", got[0], i)
		require.Regexp(t, "^[0-9a-f]{16}$", got[1])
		ids[got[1]] = true
	}
	require.Len(t, ids, 4, "each has its own")
}
