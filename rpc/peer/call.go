package peer

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	peerv1 "github.com/wpd-io/wpd/rpc/wpdpb/peerv1"
)

// Propose asks the leader to put a command through raft.
func (c *Client) Propose(ctx context.Context, addr string, q *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
	return ask(ctx, c, addr, false, q, peerv1.PeerServiceClient.Propose)
}

// Confirm asks the leader for a raft index that all which was committed before
// has.
func (c *Client) Confirm(ctx context.Context, addr string) (*peerv1.ConfirmResponse, error) {
	return ask(ctx, c, addr, false, &peerv1.ConfirmRequest{}, peerv1.PeerServiceClient.Confirm)
}

// Renew asks the leader to renew a lease of this node. It waits for no other
// call.
func (c *Client) Renew(ctx context.Context, addr string, q *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
	return ask(ctx, c, addr, true, q, peerv1.PeerServiceClient.Renew)
}

// Place asks the leader which node shall write a log.
func (c *Client) Place(ctx context.Context, addr string, q *peerv1.PlaceRequest) (*peerv1.PlaceResponse, error) {
	return ask(ctx, c, addr, false, q, peerv1.PeerServiceClient.Place)
}

// Join asks the leader to take this node into the group.
func (c *Client) Join(ctx context.Context, addr string, q *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	return ask(ctx, c, addr, true, q, peerv1.PeerServiceClient.Join)
}

// Release asks the node that writes a log to hand it over.
func (c *Client) Release(ctx context.Context, addr string, q *peerv1.ReleaseRequest) (*peerv1.ReleaseResponse, error) {
	return ask(ctx, c, addr, false, q, peerv1.PeerServiceClient.Release)
}

// Take has a node write a log that nobody writes.
func (c *Client) Take(ctx context.Context, addr string, q *peerv1.TakeRequest) (*peerv1.TakeResponse, error) {
	return ask(ctx, c, addr, false, q, peerv1.PeerServiceClient.Take)
}

// Tail asks the node that writes a log for its linearizable tail.
func (c *Client) Tail(ctx context.Context, addr string, q *peerv1.TailRequest) (*peerv1.TailResponse, error) {
	return ask(ctx, c, addr, false, q, peerv1.PeerServiceClient.Tail)
}

// ask makes a call of one request and one answer. An urgent one waits for no
// other.
func ask[Q, A any](ctx context.Context, c *Client, addr string, urgent bool, q Q, f func(peerv1.PeerServiceClient, context.Context, Q, ...grpc.CallOption) (*A, error)) (*A, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, CallTimeout)
		defer cancel()
	}
	x, before, err := c.acquire(addr, false)
	if err != nil {
		return nil, &BrokenError{Addr: addr, Err: err}
	}
	if !urgent {
		select {
		case x.room <- struct{}{}:
			defer func() { <-x.room }()
		case <-ctx.Done():
			c.release(x, false)
			return nil, &BrokenError{Addr: addr, Err: ctx.Err()}
		}
	}
	var a *A
	var to peer.Peer // of the connection that the call was given to
	out, err := c.outgoing(ctx)
	if err == nil {
		a, err = f(x.rpc, out, q, grpc.Peer(&to))
	}
	said := fromStatus(err)
	c.release(x, err == nil || said != nil)
	switch {
	case err == nil:
		return a, nil
	case said != nil:
		return nil, said
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c.silent(addr, x, before)
	}
	return nil, c.broken(ctx, addr, to.Addr != nil, err)
}

// broken is the error of a call, or of a feed, without an answer.
func (c *Client) broken(ctx context.Context, addr string, sent bool, err error) error {
	switch s, ok := status.FromError(err); {
	case ctx.Err() != nil:
		err = ctx.Err()
	case c.ctx.Err() != nil:
		err = errClosed
	case ok && s.Code() == codes.Unavailable:
		err = errors.New(s.Message())
	}
	return &BrokenError{Addr: addr, Sent: sent, Err: err}
}
