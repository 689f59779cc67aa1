package node

import (
	"context"
	"errors"

	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/rpc/peer"
	"github.com/wpd-io/wpd/rpc/wpdpb/peerv1"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// handlers answers what other nodes ask.
type handlers struct {
	member *cluster.Member
	// here returns this node's logs, once they are open.
	here func(ctx context.Context) (*wal.Service, error)
}

var _ peer.Handlers = (*handlers)(nil)

// Propose implements peer.Handlers.
func (h *handlers) Propose(ctx context.Context, q *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
	index, err := h.member.ServePropose(ctx, q.GetCommand())
	return &peerv1.ProposeResponse{Index: index}, fromCluster(err)
}

// Confirm implements peer.Handlers.
func (h *handlers) Confirm(ctx context.Context, _ *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
	index, err := h.member.ServeConfirm(ctx)
	return &peerv1.ConfirmResponse{Index: index}, fromCluster(err)
}

// Renew implements peer.Handlers.
func (h *handlers) Renew(ctx context.Context, q *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
	renewed, err := h.member.ServeRenew(ctx, renewalFrom(q))
	if err != nil {
		return nil, fromCluster(err)
	}
	return renewedTo(renewed), nil
}

// Place implements peer.Handlers.
func (h *handlers) Place(ctx context.Context, q *peerv1.PlaceRequest) (*peerv1.PlaceResponse, error) {
	identity, err := h.member.ServePlace(ctx, fragment.LogID(q.GetLogId()))
	return &peerv1.PlaceResponse{Identity: identity}, fromCluster(err)
}

// Join implements peer.Handlers.
func (h *handlers) Join(ctx context.Context, q *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	r, err := joinFrom(q)
	if err != nil {
		return nil, fromCluster(err)
	}
	a, err := h.member.ServeJoin(ctx, r)
	return &peerv1.JoinResponse{Refusal: peerv1.Refusal(a.Refusal), Holder: a.Holder}, fromCluster(err)
}

// fromCluster puts an error of room cluster into the words of wpd.peer.v1.
func fromCluster(err error) error {
	if err == nil {
		return nil
	}
	e := &peer.Error{Text: err.Error(), Reason: peerv1.ErrorReason_ERROR_REASON_UNCERTAIN}
	leads, notLeader := errors.AsType[*cluster.NotLeaderError](err)
	switch {
	case errors.Is(err, cluster.ErrUncertain):
	case notLeader:
		e.Reason, e.Leader = peerv1.ErrorReason_ERROR_REASON_NOT_LEADER, leads.Leader
	case errors.Is(err, cluster.ErrBusy), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		e.Reason = peerv1.ErrorReason_ERROR_REASON_BUSY
	case errors.Is(err, cluster.ErrClosed), errors.Is(err, cluster.ErrFailed):
		e.Reason = peerv1.ErrorReason_ERROR_REASON_CLOSED
	case errors.Is(err, cluster.ErrRefused):
		e.Reason = peerv1.ErrorReason_ERROR_REASON_REFUSED
	}
	return e
}

// Release implements peer.Handlers.
func (h *handlers) Release(ctx context.Context, q *peerv1.ReleaseRequest) (*peerv1.ReleaseResponse, error) {
	logs, err := h.here(ctx)
	if err != nil {
		return nil, err
	}
	return &peerv1.ReleaseResponse{}, logs.Release(ctx, fragment.LogID(q.GetLogId()))
}

// Take implements peer.Handlers.
func (h *handlers) Take(ctx context.Context, q *peerv1.TakeRequest) (*peerv1.TakeResponse, error) {
	logs, err := h.here(ctx)
	if err != nil {
		return nil, err
	}
	return &peerv1.TakeResponse{}, logs.Take(ctx, fragment.LogID(q.GetLogId()))
}

// Tail implements peer.Handlers.
func (h *handlers) Tail(ctx context.Context, q *peerv1.TailRequest) (*peerv1.TailResponse, error) {
	logs, err := h.here(ctx)
	if err != nil {
		return nil, err
	}
	log := fragment.LogID(q.GetLogId())
	if err := h.elsewhere(log); err != nil {
		return nil, err
	}
	tail, err := logs.OwnerTail(ctx, log)
	return &peerv1.TailResponse{TailLsn: uint64(tail)}, err
}

// elsewhere says who else writes a log, so that a question does not go round.
func (h *handlers) elsewhere(log fragment.LogID) (err error) {
	h.member.View(func(s *fsm.State) {
		if c, ok := s.Owner(log); ok && c.Node != h.member.Identity() {
			err = &api.ElsewhereError{Node: c.Node}
		}
	})
	return err
}

// Follow implements peer.Handlers.
func (h *handlers) Follow(ctx context.Context, q *peerv1.FollowRequest, send func(message []byte) error) error {
	logs, err := h.here(ctx)
	if err != nil {
		return err
	}
	return logs.Feed(ctx, fragment.Epoch(q.GetChainEpoch()), send)
}
