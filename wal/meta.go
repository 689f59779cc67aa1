package wal

import (
	"context"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// Meta is the replicated metadata as this room needs it. Safe for concurrent
// use.
type Meta interface {
	// Propose applies a command, or returns the refusal of package fsm; then
	// View shows what came of it, or a later state. An error whose method
	// Uncertain says so (ErrUncertain of room cluster) means that nobody knows
	// whether it was applied, and that it may still be; any other one, the
	// context's included, that nothing was done.
	Propose(ctx context.Context, c *fsmpb.Command) (fsm.Result, error)
	// View shows the state as far as this node has applied it; it never goes
	// back. What it hands out must not be kept or changed.
	View(f func(*fsm.State))
	// Changed returns a channel that is closed at the next change of what View
	// shows.
	Changed() <-chan struct{}
	// Applied is the raft index that this node has applied.
	Applied() uint64
	// Confirm returns once View shows all that was committed before the call.
	// Those who ask at a time share the work.
	Confirm(ctx context.Context) error
	// Grant asks for a chain epoch for this boot of this node; of a chain to which
	// log alone may be attached, 0: any log.
	Grant(ctx context.Context, window uint32, log fragment.LogID) (fragment.Epoch, error)
	// LeaseHeld says whether this node may start fragments of a chain that was
	// granted to it.
	LeaseHeld(e fragment.Epoch) bool
	// LeaseChanged returns a channel that is closed when LeaseHeld says
	// something else than it did at the call, or later.
	LeaseChanged(e fragment.Epoch) <-chan struct{}
	// Ages returns how long ago, at most, the leader of the metadata answered a
	// node's last renewal of its lease; false: it is not known.
	Ages(identity string) (time.Duration, bool)
	// MayAttach says why this node must not take logs now, because of its disk or its
	// clock; nil if it may.
	MayAttach() error
	// CheckRaftIndex returns an error if the object at where was written with
	// metadata that this node's history does not hold.
	CheckRaftIndex(ctx context.Context, where string, boot fragment.Nonce, incarnation, applied uint64) error
	// CheckIncarnation returns an error, one that Is fs.ErrExist, if the metadata
	// were restored or recovered, and go on without this node. It asks the
	// bucket.
	CheckIncarnation(ctx context.Context) error
}

// Identity says who this node is.
type Identity struct {
	Cluster     fragment.ClusterID
	Incarnation uint64
	Node        string
	Boot        uint64
	Nonce       fragment.Nonce
}
