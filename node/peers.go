package node

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc/peer"
	"github.com/wpd-io/wpd/rpc/wpdpb/peerv1"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// peers asks other nodes: for room cluster, which knows their addresses, and for
// room wal, which knows who they are.
type peers struct {
	client *peer.Client
	addr   func(identity string) string // where a node serves; empty: not known
}

var (
	_ cluster.Peers      = (*peers)(nil)
	_ cluster.Introducer = (*peers)(nil)
	_ wal.Peers          = (*peers)(nil)
)

// Introduce implements cluster.Introducer.
func (p *peers) Introduce(id fragment.ClusterID, identity string) {
	p.client.Introduce(id.String(), identity)
}

// Propose implements cluster.Peers.
func (p *peers) Propose(ctx context.Context, addr string, command []byte) (uint64, error) {
	r, err := p.client.Propose(ctx, addr, &peerv1.ProposeRequest{Command: command})
	return r.GetIndex(), toCluster(err)
}

// Confirm implements cluster.Peers.
func (p *peers) Confirm(ctx context.Context, addr string) (uint64, error) {
	r, err := p.client.Confirm(ctx, addr)
	return r.GetIndex(), toCluster(err)
}

// Renew implements cluster.Peers.
func (p *peers) Renew(ctx context.Context, addr string, r cluster.Renewal) (cluster.Renewed, error) {
	a, err := p.client.Renew(ctx, addr, renewalTo(r))
	if err != nil {
		return cluster.Renewed{}, toCluster(err)
	}
	return renewedFrom(a), nil
}

// Place implements cluster.Peers.
func (p *peers) Place(ctx context.Context, addr string, log fragment.LogID) (string, error) {
	r, err := p.client.Place(ctx, addr, &peerv1.PlaceRequest{LogId: uint64(log)})
	return r.GetIdentity(), toCluster(err)
}

// Join implements cluster.Peers.
func (p *peers) Join(ctx context.Context, addr string, r cluster.JoinRequest) (cluster.Joined, error) {
	a, err := p.client.Join(ctx, addr, joinTo(r))
	return cluster.Joined{Refusal: cluster.Refusal(a.GetRefusal()), Holder: a.GetHolder()}, toCluster(err)
}

// toCluster puts what another node said, or that it said nothing, into the words
// of room cluster.
func toCluster(err error) error {
	if err == nil {
		return nil
	}
	if broken, ok := errors.AsType[*peer.BrokenError](err); ok {
		if !broken.Sent {
			return fmt.Errorf("%w: %w", cluster.ErrUnreachable, err)
		}
		return err
	}
	said, ok := errors.AsType[*peer.Error](err)
	switch {
	case ok:
	case errors.Is(err, api.ErrUncertain): // a handler that broke down
		return &cluster.UncertainError{Err: err}
	case errors.Is(err, api.ErrUnavailable): // too many calls
		return fmt.Errorf("%w: %w", cluster.ErrBusy, err)
	default:
		// A refusal of the layers below: what they refuse was not done.
		return &cluster.RefusedError{Reason: err.Error()}
	}
	switch said.Reason {
	case peerv1.ErrorReason_ERROR_REASON_NOT_LEADER:
		return &cluster.NotLeaderError{Leader: said.Leader}
	case peerv1.ErrorReason_ERROR_REASON_BUSY:
		return fmt.Errorf("%w: %w", cluster.ErrBusy, err)
	case peerv1.ErrorReason_ERROR_REASON_CLOSED:
		return fmt.Errorf("%w: %w", cluster.ErrClosed, err)
	case peerv1.ErrorReason_ERROR_REASON_REFUSED:
		return &cluster.RefusedError{Reason: said.Text}
	}
	return &cluster.UncertainError{Err: err}
}

// Follow implements wal.Peers.
func (p *peers) Follow(ctx context.Context, node string, epoch fragment.Epoch) (wal.FeedStream, error) {
	addr, err := p.find(node)
	if err != nil {
		return nil, err
	}
	f, err := p.client.Follow(ctx, addr, &peerv1.FollowRequest{ChainEpoch: uint64(epoch)})
	if err != nil {
		return nil, toWal(err)
	}
	return f, nil
}

// Tail implements wal.Peers.
func (p *peers) Tail(ctx context.Context, node string, log fragment.LogID) (fragment.LSN, error) {
	addr, err := p.find(node)
	if err != nil {
		return 0, err
	}
	r, err := p.client.Tail(ctx, addr, &peerv1.TailRequest{LogId: uint64(log)})
	return fragment.LSN(r.GetTailLsn()), toWal(err)
}

// Release has a node hand a log over. Errors are those of wal/api.
func (p *peers) Release(ctx context.Context, node string, log fragment.LogID) error {
	addr, err := p.find(node)
	if err != nil {
		return err
	}
	_, err = p.client.Release(ctx, addr, &peerv1.ReleaseRequest{LogId: uint64(log)})
	return toWal(err)
}

// Take has a node write a log that nobody writes. Errors are those of wal/api.
func (p *peers) Take(ctx context.Context, node string, log fragment.LogID) error {
	addr, err := p.find(node)
	if err != nil {
		return err
	}
	_, err = p.client.Take(ctx, addr, &peerv1.TakeRequest{LogId: uint64(log)})
	return toWal(err)
}

func (p *peers) find(node string) (addr string, err error) {
	if addr = p.addr(node); addr == "" {
		return "", fmt.Errorf("%w: node %s has no address", api.ErrUnavailable, node)
	}
	return addr, nil
}

// toWal puts what another node said, or that it said nothing, into the words of
// wal/api. What is asked for here may be asked for again, whatever became of it.
func toWal(err error) error {
	_, broken := errors.AsType[*peer.BrokenError](err)
	_, said := errors.AsType[*peer.Error](err)
	if broken || said || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	}
	return err
}
