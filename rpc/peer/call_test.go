package peer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/peer"
	peerv1 "github.com/wpd-io/wpd/rpc/wpdpb/peerv1"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

// TestCalls: each call arrives as it was made, with who made it, and so does its
// answer, over one connection for all.
func TestCalls(t *testing.T) {
	var s script
	n := serve(t, &s)
	defer n.close()
	c := n.client()
	defer c.Close() //nolint:errcheck // a test's

	type pair struct{ request, response proto.Message }
	pairs := map[string]pair{
		"propose": {&peerv1.ProposeRequest{Command: bytes.Repeat([]byte("x"), 256<<10)}, &peerv1.ProposeResponse{Index: 7}},
		"confirm": {&peerv1.ConfirmRequest{}, &peerv1.ConfirmResponse{Index: 8}},
		"renew": {
			&peerv1.RenewRequest{
				Identity: "n1-00", Boot: 2, Applied: 3, ClockMicros: 4, Chains: []*peerv1.ChainReport{{Epoch: 5, Durable: 6}}, Logs: 7, BytesPerSec: 8,
			},
			&peerv1.RenewResponse{Epochs: []uint64{5}, ClockMicros: 9, Nodes: []*peerv1.NodeAge{{Identity: "n3-00", AgeMicros: 10}}},
		},
		"place":   {&peerv1.PlaceRequest{LogId: 1}, &peerv1.PlaceResponse{Identity: "n3-00"}},
		"join":    {&peerv1.JoinRequest{Identity: "n1-00", Name: "n1", RaftAddr: "n1:2", Boot: 3, Nonce: []byte("nonce")}, &peerv1.JoinResponse{Refusal: peerv1.Refusal_REFUSAL_NAME, Holder: "n1-01"}},
		"release": {&peerv1.ReleaseRequest{LogId: 2}, &peerv1.ReleaseResponse{}},
		"take":    {&peerv1.TakeRequest{LogId: 2}, &peerv1.TakeResponse{}},
		"tail":    {&peerv1.TailRequest{LogId: 3}, &peerv1.TailResponse{TailLsn: 4}},
	}
	answer := func(ctx context.Context, name string, q proto.Message) proto.Message {
		if !proto.Equal(pairs[name].request, q) {
			t.Errorf("%s came as another one", name)
		}
		if from := peer.Sender(ctx); from != "n1-00" {
			t.Errorf("%s comes from %q", name, from)
		}
		return pairs[name].response
	}
	s = script{
		propose: func(ctx context.Context, q *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
			return answer(ctx, "propose", q).(*peerv1.ProposeResponse), nil
		},
		confirm: func(ctx context.Context, q *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
			return answer(ctx, "confirm", q).(*peerv1.ConfirmResponse), nil
		},
		renew: func(ctx context.Context, q *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
			return answer(ctx, "renew", q).(*peerv1.RenewResponse), nil
		},
		place: func(ctx context.Context, q *peerv1.PlaceRequest) (*peerv1.PlaceResponse, error) {
			return answer(ctx, "place", q).(*peerv1.PlaceResponse), nil
		},
		join: func(ctx context.Context, q *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
			return answer(ctx, "join", q).(*peerv1.JoinResponse), nil
		},
		release: func(ctx context.Context, q *peerv1.ReleaseRequest) (*peerv1.ReleaseResponse, error) {
			return answer(ctx, "release", q).(*peerv1.ReleaseResponse), nil
		},
		take: func(ctx context.Context, q *peerv1.TakeRequest) (*peerv1.TakeResponse, error) {
			return answer(ctx, "take", q).(*peerv1.TakeResponse), nil
		},
		tail: func(ctx context.Context, q *peerv1.TailRequest) (*peerv1.TailResponse, error) {
			return answer(ctx, "tail", q).(*peerv1.TailResponse), nil
		},
	}
	ctx := t.Context()
	for name, call := range map[string]func(proto.Message) (proto.Message, error){
		"propose": func(q proto.Message) (proto.Message, error) {
			return c.Propose(ctx, nodeAddr, q.(*peerv1.ProposeRequest))
		},
		"confirm": func(proto.Message) (proto.Message, error) { return c.Confirm(ctx, nodeAddr) },
		"renew": func(q proto.Message) (proto.Message, error) {
			return c.Renew(ctx, nodeAddr, q.(*peerv1.RenewRequest))
		},
		"place": func(q proto.Message) (proto.Message, error) {
			return c.Place(ctx, nodeAddr, q.(*peerv1.PlaceRequest))
		},
		"join": func(q proto.Message) (proto.Message, error) { return c.Join(ctx, nodeAddr, q.(*peerv1.JoinRequest)) },
		"release": func(q proto.Message) (proto.Message, error) {
			return c.Release(ctx, nodeAddr, q.(*peerv1.ReleaseRequest))
		},
		"take": func(q proto.Message) (proto.Message, error) { return c.Take(ctx, nodeAddr, q.(*peerv1.TakeRequest)) },
		"tail": func(q proto.Message) (proto.Message, error) { return c.Tail(ctx, nodeAddr, q.(*peerv1.TailRequest)) },
	} {
		got, err := call(pairs[name].request)
		require.NoError(t, err, name)
		require.True(t, proto.Equal(pairs[name].response, got), "%s: %v", name, got)
	}
	require.Len(t, pairs, 8)
	require.Equal(t, 1, n.dialled())
}

// TestErrors: what the other node finds wrong comes with its reason and facts,
// from a call and from a feed, and can't be taken for a broken connection.
func TestErrors(t *testing.T) {
	var given error
	n := serve(t, &script{
		place: func(context.Context, *peerv1.PlaceRequest) (*peerv1.PlaceResponse, error) { return nil, given },
		follow: func(_ context.Context, _ *peerv1.FollowRequest, send func([]byte) error) error {
			return errors.Join(send([]byte("x")), given)
		},
	})
	defer n.close()
	c := n.client()
	defer c.Close() //nolint:errcheck // a test's
	for reason := range peerv1.ErrorReason_name {
		if reason == 0 {
			continue
		}
		want := &peer.Error{Reason: peerv1.ErrorReason(reason), Text: "no: \xff", Leader: "n3-00"}
		for _, given = range []error{want, fmt.Errorf("deep down: %w", want)} {
			_, err := c.Place(t.Context(), nodeAddr, &peerv1.PlaceRequest{})
			got, ok := errors.AsType[*peer.Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, want.Reason, got.Reason)
			require.Equal(t, want.Leader, got.Leader)
			require.Contains(t, got.Text, "no: \uFFFD")
		}
	}
	for _, c2 := range []struct{ given, is error }{
		{&api.ElsewhereError{Node: "n3-00", Addr: "n3:1"}, api.ErrMoved},
		{api.ErrDeleted, api.ErrDeleted},
		{&api.BusyError{What: "x", RetryAfter: time.Second}, api.ErrUnavailable},
		{errors.New("secret"), api.ErrUncertain},
		{&peer.Error{Text: "without a reason"}, api.ErrUncertain},
		{fmt.Errorf("x: %w", api.ErrClosed), api.ErrUnavailable},
	} {
		given = c2.given
		_, err := c.Place(t.Context(), nodeAddr, &peerv1.PlaceRequest{})
		require.ErrorIs(t, err, c2.is)
		require.NotContains(t, err.Error(), "secret")
		f, err := c.Follow(t.Context(), nodeAddr, &peerv1.FollowRequest{})
		require.NoError(t, err)
		_, err = f.Next()
		require.NoError(t, err)
		_, err = f.Next()
		require.ErrorIs(t, err, c2.is)
		_, broken := errors.AsType[*peer.BrokenError](err)
		require.False(t, broken)
	}
	given = &api.ElsewhereError{Node: "n3-00", Addr: "n3:1"}
	_, err := c.Place(t.Context(), nodeAddr, &peerv1.PlaceRequest{})
	require.Equal(t, given, err, "with its facts")
}

// TestStrangers: whoever is of another cluster, does not say who it is, asks in
// the name of another, or comes on a client's connection, is refused, and nothing
// is done.
func TestStrangers(t *testing.T) {
	n := serve(t, &script{}) // would panic
	defer n.close()
	c := n.client()
	defer c.Close() //nolint:errcheck // a test's
	_, err := c.Renew(t.Context(), nodeAddr, &peerv1.RenewRequest{Identity: "n3-00"})
	require.ErrorIs(t, err, api.ErrInvalid)
	require.ErrorContains(t, err, "in the name of")
	_, err = c.Join(t.Context(), nodeAddr, &peerv1.JoinRequest{Identity: "n3-00"})
	require.ErrorIs(t, err, api.ErrInvalid)

	c.Introduce("6a7a7e0e-0000-4000-8000-000000000002", "n1-00")
	_, err = c.Confirm(t.Context(), nodeAddr)
	require.Equal(t, &api.WrongClusterError{Have: clusterID}, err)
	f, err := c.Follow(t.Context(), nodeAddr, &peerv1.FollowRequest{})
	require.NoError(t, err)
	_, err = f.Next()
	require.Equal(t, &api.WrongClusterError{Have: clusterID}, err)

	c.Introduce(clusterID, "")
	_, err = c.Confirm(t.Context(), nodeAddr)
	broken, ok := errors.AsType[*peer.BrokenError](err)
	require.True(t, ok)
	require.False(t, broken.Sent)

	for _, preamble := range []bool{true, false} {
		cc, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				conn, err := n.l.DialContext(ctx)
				if err == nil && preamble {
					err = rpc.BeginPeer(ctx, conn)
				}
				return conn, err
			}))
		require.NoError(t, err)
		for _, md := range []metadata.MD{
			{},
			metadata.Pairs(rpc.MetadataCluster, clusterID),
			metadata.Pairs(rpc.MetadataNode, "n1-00"),
			metadata.Pairs(rpc.MetadataCluster, clusterID, rpc.MetadataNode, ""),
			metadata.Pairs(rpc.MetadataCluster, clusterID, rpc.MetadataNode, "a", rpc.MetadataNode, "b"),
			metadata.Pairs(rpc.MetadataCluster, clusterID, rpc.MetadataNode, string(bytes.Repeat([]byte("x"), 300))),
		} {
			_, err := peerv1.NewPeerServiceClient(cc).Confirm(metadata.NewOutgoingContext(t.Context(), md), &peerv1.ConfirmRequest{})
			err = rpc.FromStatus(err, true)
			_, wrong := errors.AsType[*api.WrongClusterError](err)
			require.True(t, preamble && (wrong || errors.Is(err, api.ErrInvalid)) || !preamble && errors.Is(err, api.ErrForbidden), "%v: %v", md, err)
		}
		require.NoError(t, cc.Close())
	}
}

// brokenOf checks that an error is of a broken connection, and whether the call
// may have been done.
func brokenOf(t *testing.T, err error, sent bool) {
	t.Helper()
	broken, ok := errors.AsType[*peer.BrokenError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, sent, broken.Sent, "%v", err)
	require.Equal(t, nodeAddr, broken.Addr)
	for _, is := range []error{api.ErrUncertain, api.ErrUnavailable, api.ErrClosed} {
		require.NotErrorIs(t, err, is)
	}
}

// TestBroken: a call without an answer says whether it may have been done.
func TestBroken(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		begun := make(chan struct{}, 1)
		n := serve(t, &script{propose: func(ctx context.Context, _ *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
			begun <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		c := n.client()
		propose := func(ctx context.Context) error {
			_, err := c.Propose(ctx, nodeAddr, &peerv1.ProposeRequest{})
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		before := time.Now()
		err := propose(ctx)
		cancel()
		brokenOf(t, err, true)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(before))
		<-begun
		before = time.Now()
		err = propose(t.Context())
		brokenOf(t, err, true)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, peer.CallTimeout, time.Since(before), "its own end")
		<-begun

		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		err = propose(ctx)
		brokenOf(t, err, false)
		require.ErrorIs(t, err, context.Canceled)

		over := make(chan error)
		go func() { over <- propose(t.Context()) }()
		<-begun
		n.close()
		brokenOf(t, <-over, true)
		n.mu.Lock()
		n.dead = true
		n.mu.Unlock()
		err = propose(t.Context())
		brokenOf(t, err, false)
		require.ErrorContains(t, err, "connection refused")

		require.NoError(t, c.Close())
		require.NoError(t, c.Close())
		brokenOf(t, propose(t.Context()), false)
		_, err = c.Follow(t.Context(), nodeAddr, &peerv1.FollowRequest{})
		brokenOf(t, err, false)
	})
}

// TestClientClose ends calls and feeds, with who knows what done.
func TestClientClose(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := serve(t, &script{
			confirm: func(ctx context.Context, _ *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
			follow: func(ctx context.Context, _ *peerv1.FollowRequest, _ func([]byte) error) error {
				<-ctx.Done()
				return ctx.Err()
			},
		})
		c := n.client()
		over := make(chan error, 2)
		go func() {
			_, err := c.Confirm(t.Context(), nodeAddr)
			over <- err
		}()
		f, err := c.Follow(t.Context(), nodeAddr, &peerv1.FollowRequest{})
		require.NoError(t, err)
		go func() {
			_, err := f.Next()
			over <- err
		}()
		synctest.Wait()
		require.NoError(t, c.Close())
		brokenOf(t, <-over, true)
		brokenOf(t, <-over, true)
		require.NoError(t, f.Close())
		n.close()
	})
}

// TestRenewalsFirst: a renewal waits for no other call and for no feed, however
// many there are.
func TestRenewalsFirst(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		proposals, feeds := 0, 0
		n := serve(t, &script{
			propose: func(ctx context.Context, _ *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
				mu.Lock()
				proposals++
				mu.Unlock()
				<-ctx.Done()
				return nil, ctx.Err()
			},
			follow: func(ctx context.Context, q *peerv1.FollowRequest, send func([]byte) error) error {
				mu.Lock()
				feeds++
				mu.Unlock()
				if q.GetChainEpoch()%50 > 0 {
					<-ctx.Done()
					return ctx.Err()
				}
				for { // nobody reads it
					if err := send(make([]byte, rpc.FeedBytesMax)); err != nil {
						return err
					}
				}
			},
			renew: func(context.Context, *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
				return &peerv1.RenewResponse{Epochs: []uint64{1}}, nil
			},
		})
		c := n.client()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		const calls, followers = 1000, 300
		for range calls {
			wg.Go(func() {
				_, err := c.Propose(ctx, nodeAddr, &peerv1.ProposeRequest{})
				if _, ok := errors.AsType[*peer.BrokenError](err); !ok {
					t.Error(err)
				}
			})
		}
		for i := range uint64(followers) {
			_, err := c.Follow(ctx, nodeAddr, &peerv1.FollowRequest{ChainEpoch: i})
			require.NoError(t, err)
		}
		synctest.Wait()
		require.Equal(t, 192, proposals)
		require.Equal(t, followers, feeds)
		require.Equal(t, 3, n.dialled(), "one connection for calls, two for feeds")
		for range 50 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, err := c.Renew(ctx, nodeAddr, &peerv1.RenewRequest{Identity: "n1-00"})
			cancel()
			require.NoError(t, err)
		}
		cancel()
		wg.Wait()
		require.NoError(t, c.Close())
		n.close()
	})
}

// TestSwallowed: a connection that swallows everything, as when the network was
// cut and is whole again, holds up one call, not all until gRPC finds out.
func TestSwallowed(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := serve(t, &script{renew: func(context.Context, *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
			return &peerv1.RenewResponse{}, nil
		}})
		c := n.client()
		renew := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			_, err := c.Renew(ctx, nodeAddr, &peerv1.RenewRequest{Identity: "n1-00"})
			return err
		}
		require.NoError(t, renew())
		n.swallow()
		brokenOf(t, renew(), true)
		require.NoError(t, renew())
		require.Equal(t, 2, n.dialled())
		require.NoError(t, c.Close())
		n.close()
	})
}

// TestSlowIsNotSilent: a call that takes too long, on a connection where others
// are answered meanwhile, costs nobody the connection.
func TestSlowIsNotSilent(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := serve(t, &script{
			propose: func(ctx context.Context, _ *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
			renew: func(context.Context, *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
				return nil, &peer.Error{Reason: peerv1.ErrorReason_ERROR_REASON_NOT_LEADER, Text: "no"}
			},
		})
		c := n.client()
		over := make(chan error)
		go func() {
			_, err := c.Propose(t.Context(), nodeAddr, &peerv1.ProposeRequest{})
			over <- err
		}()
		synctest.Wait()
		_, err := c.Renew(t.Context(), nodeAddr, &peerv1.RenewRequest{Identity: "n1-00"})
		require.EqualError(t, err, "no")
		brokenOf(t, <-over, true)
		_, err = c.Renew(t.Context(), nodeAddr, &peerv1.RenewRequest{Identity: "n1-00"})
		require.EqualError(t, err, "no")
		require.Equal(t, 1, n.dialled())
		require.NoError(t, c.Close())
		n.close()
	})
}

// TestManyNodes: connections to nodes that were not asked for long are given up.
func TestManyNodes(t *testing.T) {
	n := serve(t, &script{confirm: func(context.Context, *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
		return &peerv1.ConfirmResponse{}, nil
	}})
	defer n.close()
	c := peer.New(peer.Config{Dialer: func(ctx context.Context, addr string) (net.Conn, error) {
		return n.dial(ctx, nodeAddr)
	}})
	c.Introduce(clusterID, "n1-00")
	for i := range 300 {
		_, err := c.Confirm(t.Context(), fmt.Sprintf("n%d:1", i))
		require.NoError(t, err)
	}
	open := 0
	for _, w := range n.wires {
		select {
		case <-w.gone:
		default:
			open++
		}
	}
	require.LessOrEqual(t, open, 256)
	require.Equal(t, 300, n.dialled())
	require.NoError(t, c.Close())
}
