package peer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/peer"
	peerv1 "github.com/wpd-io/wpd/rpc/wpdpb/peerv1"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

// TestFeed: messages come unchanged, in order, up to their largest size, and the
// end is the end. What is larger is the fault of who sends it.
func TestFeed(t *testing.T) {
	message := func(size int) []byte { return bytes.Repeat([]byte("a feed's "), size/9+1)[:size] }
	sizes := []int{0, 1, 1000, 300 << 10, rpc.FeedBytesMax, rpc.FeedBytesMax - 1}
	n := serve(t, &script{follow: func(ctx context.Context, q *peerv1.FollowRequest, send func([]byte) error) error {
		for _, size := range sizes {
			if err := send(message(size)); err != nil {
				return err
			}
		}
		if q.GetChainEpoch() == 9 {
			return send(make([]byte, rpc.FeedBytesMax+1))
		}
		return nil
	}})
	defer n.close()
	c := n.client()
	defer c.Close() //nolint:errcheck // a test's
	for epoch := range uint64(10) {
		f, err := c.Follow(t.Context(), nodeAddr, &peerv1.FollowRequest{ChainEpoch: epoch})
		require.NoError(t, err)
		for _, size := range sizes {
			b, err := f.Next()
			require.NoError(t, err)
			require.Len(t, b, size)
			require.True(t, bytes.Equal(message(size), b))
		}
		_, err = f.Next()
		if epoch < 9 {
			require.Equal(t, io.EOF, err)
		} else {
			limit, ok := errors.AsType[*api.LimitError](err)
			require.True(t, ok, "%v", err)
			require.EqualValues(t, rpc.FeedBytesMax+1, limit.Value)
		}
		require.NoError(t, f.Close())
	}
	require.Equal(t, 1, n.dialled())
}

// TestFeedEnds: a feed ends with its ctx, with Close, with its node, and with
// that node's server, and the node hears of it.
func TestFeedEnds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var open atomic.Int32
		n := serve(t, &script{follow: func(ctx context.Context, _ *peerv1.FollowRequest, send func([]byte) error) error {
			open.Add(1)
			defer open.Add(-1)
			if err := send([]byte("hello")); err != nil {
				return err
			}
			<-ctx.Done()
			return context.Cause(ctx)
		}})
		c := n.client()
		follow := func(ctx context.Context) *peer.Feed {
			f, err := c.Follow(ctx, nodeAddr, &peerv1.FollowRequest{})
			require.NoError(t, err)
			_, err = f.Next()
			require.NoError(t, err)
			return f
		}
		ctx, cancel := context.WithCancel(t.Context())
		f := follow(ctx)
		cancel()
		_, err := f.Next()
		brokenOf(t, err, true)
		require.ErrorIs(t, err, context.Canceled)
		g := follow(t.Context())
		require.NoError(t, g.Close())
		require.NoError(t, g.Close())
		_, err = g.Next()
		brokenOf(t, err, true)
		synctest.Wait()
		require.Zero(t, open.Load())

		f = follow(t.Context())
		n.server.Drain()
		g = follow(t.Context()) // it still hands over what it writes
		time.Sleep(time.Minute)
		require.EqualValues(t, 2, open.Load())
		n.close()
		for _, x := range []*peer.Feed{f, g} {
			_, err = x.Next()
			require.ErrorIs(t, err, api.ErrUnavailable)
			require.NoError(t, x.Close())
		}
		require.Zero(t, open.Load())
		require.NoError(t, c.Close())
	})
}

// TestFeedSlow: who does not read keeps the sender waiting, and little in memory;
// calls and other feeds go on.
func TestFeedSlow(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var sent atomic.Int32
		const messages = 20
		n := serve(t, &script{
			follow: func(_ context.Context, q *peerv1.FollowRequest, send func([]byte) error) error {
				for range messages {
					if err := send(make([]byte, rpc.FeedBytesMax)); err != nil {
						return err
					}
					if q.GetChainEpoch() == 1 {
						sent.Add(1)
					}
				}
				return nil
			},
			tail: func(context.Context, *peerv1.TailRequest) (*peerv1.TailResponse, error) {
				return &peerv1.TailResponse{TailLsn: 3}, nil
			},
		})
		c := n.client()
		slow, err := c.Follow(t.Context(), nodeAddr, &peerv1.FollowRequest{ChainEpoch: 1})
		require.NoError(t, err)
		synctest.Wait()
		require.LessOrEqual(t, sent.Load(), int32(4))
		fast, err := c.Follow(t.Context(), nodeAddr, &peerv1.FollowRequest{ChainEpoch: 2})
		require.NoError(t, err)
		for range messages {
			_, err := fast.Next()
			require.NoError(t, err)
		}
		_, err = c.Tail(t.Context(), nodeAddr, &peerv1.TailRequest{})
		require.NoError(t, err)
		for range messages {
			_, err := slow.Next()
			require.NoError(t, err)
		}
		_, err = slow.Next()
		require.Equal(t, io.EOF, err)
		require.NoError(t, c.Close())
		n.close()
	})
}
