package wal

import (
	"context"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// Meta is the replicated metadata as this room needs it. Safe for concurrent
// use.
type Meta interface {
	// Propose applies a command, or returns the refusal of package fsm. Any
	// other error means that it was not applied, or (ErrUncertain of room
	// cluster, or the context's) that nobody knows.
	Propose(ctx context.Context, c *fsmpb.Command) (fsm.Result, error)
	// View shows the state as far as this node has applied it. What it hands
	// out must not be kept or changed.
	View(f func(*fsm.State))
	// Applied is the raft index that this node has applied.
	Applied() uint64
	// Confirm returns once the state holds all that was committed before the
	// call, and this node still owns what it owned then.
	Confirm(ctx context.Context) error
	// Grant asks for a chain epoch for this boot of this node.
	Grant(ctx context.Context, window uint32) (fragment.Epoch, error)
	// CheckRaftIndex returns an error if the object at where was written with
	// metadata that this node's history does not hold.
	CheckRaftIndex(ctx context.Context, where string, boot fragment.Nonce, incarnation, applied uint64) error
}

// Identity says who this node is.
type Identity struct {
	Cluster     fragment.ClusterID
	Incarnation uint64
	Node        string
	Boot        uint64
	Nonce       fragment.Nonce
}
