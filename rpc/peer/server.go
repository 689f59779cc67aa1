package peer

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/wpd-io/wpd/rpc"
	peerv1 "github.com/wpd-io/wpd/rpc/wpdpb/peerv1"
	"github.com/wpd-io/wpd/wal/api"
)

// Handlers answers what other nodes ask. All methods may be called at the same
// time; each ends when its ctx does. Errors are *Error, or those of wal/api; of
// any other the caller only hears that there was one. Sender tells who asks.
type Handlers interface {
	Propose(context.Context, *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error)
	Confirm(context.Context, *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error)
	Renew(context.Context, *peerv1.RenewRequest) (*peerv1.RenewResponse, error)
	Place(context.Context, *peerv1.PlaceRequest) (*peerv1.PlaceResponse, error)
	Join(context.Context, *peerv1.JoinRequest) (*peerv1.JoinResponse, error)
	Release(context.Context, *peerv1.ReleaseRequest) (*peerv1.ReleaseResponse, error)
	Take(context.Context, *peerv1.TakeRequest) (*peerv1.TakeResponse, error)
	Tail(context.Context, *peerv1.TailRequest) (*peerv1.TailResponse, error)
	// Follow sends the messages of a feed, each at most rpc.FeedBytesMax, until
	// it ends. send waits for a caller that is slow; its error ends the feed.
	// A message must not change once it was sent.
	Follow(ctx context.Context, r *peerv1.FollowRequest, send func(message []byte) error) error
}

// Register returns what registers the service of a node of a cluster, see
// server.Config.
func Register(cluster string, h Handlers) func(grpc.ServiceRegistrar) {
	return func(r grpc.ServiceRegistrar) {
		peerv1.RegisterPeerServiceServer(r, &service{cluster: cluster, h: h})
	}
}

type senderKey struct{}

// Sender is the identity of the node that makes a call.
func Sender(ctx context.Context) string {
	s, _ := ctx.Value(senderKey{}).(string)
	return s
}

// identityBytesMax is more than any identity has.
const identityBytesMax = 255

// service is wpd.peer.v1.PeerService.
type service struct {
	peerv1.UnimplementedPeerServiceServer
	cluster string
	h       Handlers
}

// enter finds out who calls, and refuses whoever is not of this cluster.
func (s *service) enter(ctx context.Context) (context.Context, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	cluster, node := md.Get(rpc.MetadataCluster), md.Get(rpc.MetadataNode)
	switch {
	case len(cluster) != 1 || cluster[0] != s.cluster:
		return nil, &api.WrongClusterError{Have: s.cluster}
	case len(node) != 1 || node[0] == "" || len(node[0]) > identityBytesMax:
		return nil, fmt.Errorf("%w: the call does not say which node makes it", api.ErrInvalid)
	}
	return context.WithValue(ctx, senderKey{}, node[0]), nil
}

// answer has a call of one request and one answer answered.
func answer[Q, A any](ctx context.Context, s *service, q Q, h func(context.Context, Q) (*A, error)) (*A, error) {
	ctx, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	a, err := h(ctx, q)
	if err != nil {
		return nil, toStatus(err)
	}
	return a, nil
}

// itself refuses what a node asks in the name of another.
func itself(ctx context.Context, identity string) error {
	if from := Sender(ctx); from != identity {
		return fmt.Errorf("%w: node %q asks in the name of node %q", api.ErrInvalid, from, identity)
	}
	return nil
}

func (s *service) Propose(ctx context.Context, q *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
	return answer(ctx, s, q, s.h.Propose)
}

func (s *service) Confirm(ctx context.Context, q *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
	return answer(ctx, s, q, s.h.Confirm)
}

func (s *service) Renew(ctx context.Context, q *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
	return answer(ctx, s, q, func(ctx context.Context, q *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
		if err := itself(ctx, q.GetIdentity()); err != nil {
			return nil, err
		}
		return s.h.Renew(ctx, q)
	})
}

func (s *service) Place(ctx context.Context, q *peerv1.PlaceRequest) (*peerv1.PlaceResponse, error) {
	return answer(ctx, s, q, s.h.Place)
}

func (s *service) Join(ctx context.Context, q *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	return answer(ctx, s, q, func(ctx context.Context, q *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
		if err := itself(ctx, q.GetIdentity()); err != nil {
			return nil, err
		}
		return s.h.Join(ctx, q)
	})
}

func (s *service) Release(ctx context.Context, q *peerv1.ReleaseRequest) (*peerv1.ReleaseResponse, error) {
	return answer(ctx, s, q, s.h.Release)
}

func (s *service) Take(ctx context.Context, q *peerv1.TakeRequest) (*peerv1.TakeResponse, error) {
	return answer(ctx, s, q, s.h.Take)
}

func (s *service) Tail(ctx context.Context, q *peerv1.TailRequest) (*peerv1.TailResponse, error) {
	return answer(ctx, s, q, s.h.Tail)
}

func (s *service) Follow(q *peerv1.FollowRequest, stream grpc.ServerStreamingServer[peerv1.FollowResponse]) error {
	ctx, err := s.enter(stream.Context())
	if err != nil {
		return err
	}
	return toStatus(s.h.Follow(ctx, q, func(message []byte) error {
		if n := len(message); n > rpc.FeedBytesMax {
			return &api.LimitError{What: "bytes of a feed's message", Limit: rpc.FeedBytesMax, Value: uint64(n)}
		}
		return stream.Send(&peerv1.FollowResponse{Message: message})
	}))
}
