package cluster

import (
	"context"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// Peers is how this member asks others; a node joins it with the room that
// speaks to the network. Addresses are those that nodes advertise for gRPC.
// Every method ends when its ctx does. An error that Is ErrNotLeader, ErrBusy,
// ErrClosed, ErrRefused or ErrUncertain was given by the other member; one that
// Is ErrUnreachable says that the call surely was not sent. Any other means that
// it may have arrived or not.
type Peers interface {
	// Propose puts an encoded command through raft at the leader, and returns
	// the raft index at which it was applied (or refused) there.
	Propose(ctx context.Context, addr string, command []byte) (index uint64, err error)
	// Confirm returns a raft index such that whoever has applied it has applied
	// all that was committed before the call.
	Confirm(ctx context.Context, addr string) (index uint64, err error)
	// Renew asks the leader to renew a node's lease.
	Renew(ctx context.Context, addr string, r Renewal) (Renewed, error)
	// Place asks the leader which node shall write a log that nobody writes.
	Place(ctx context.Context, addr string, log fragment.LogID) (identity string, err error)
	// Join asks the leader to take a node into the group, or to note where it is
	// now. A refusal is an answer, no error.
	Join(ctx context.Context, addr string, r JoinRequest) (Joined, error)
}

// Introducer is what a Peers may implement that tells others who calls: Open
// calls it once it knows, before it calls anything else.
type Introducer interface {
	Introduce(cluster fragment.ClusterID, identity string)
}

// Renewal is what a node tells with each renewal of its lease.
type Renewal struct {
	Identity    string
	Boot        uint64
	Incarnation uint64    // of the cluster, as the node knows it
	Applied     uint64    // raft index that it has applied
	Clock       time.Time // its wall clock when it sent this
	Report      Report
}

// Report is what a node knows of itself.
type Report struct {
	Chains      []ChainReport // of those that it writes
	Logs        uint64        // attached to them
	BytesPerSec uint64        // appended, within the last seconds

	// What follows is filled in by the member.

	Draining  bool          // it shall get no logs, or has no room for them
	ClockSkew time.Duration // how far its wall clock is ahead of the leader's, if it takes no logs for that; else 0
}

// ChainReport says how far a chain is durable.
type ChainReport struct {
	Epoch   fragment.Epoch
	Durable uint64 // objects 0..Durable are
}

// Renewed is the leader's answer. A chain that is not in it is not renewed: it
// is being sealed, or is about to be.
type Renewed struct {
	Epochs []fragment.Epoch
	Clock  time.Time // the leader's wall clock when it answered
	// Lease is how long a lease is for the leader; 0: it is too old to say.
	Lease time.Duration
	// Nodes is how old what the leader knows of each node is: when it answered
	// its last renewal, before Clock.
	Nodes []NodeAge
}

// NodeAge says how long ago the leader answered a node's last renewal.
type NodeAge struct {
	Identity string
	Age      time.Duration
}

// JoinRequest is what a node that is no member asks with. Boot and Nonce are
// those of its object in the bucket, which the leader reads before it takes the
// node: so a bucket that is not shared is found out, and a made-up identity too.
type JoinRequest struct {
	Identity string
	Name     string
	Raft     string // address that it advertises for raft
	Boot     uint64
	Nonce    fragment.Nonce
}

// Joined is the leader's answer.
type Joined struct {
	Refusal Refusal
	Holder  string // RefusalName: the identity that has the name
}

// Refusal says why a node is not taken into the group. It is the same number
// on the wire.
type Refusal uint8

// The refusals; 0 means that the node is a member.
const (
	RefusalNone    Refusal = 0
	RefusalRemoved Refusal = 1 // the identity was removed, for ever
	RefusalName    Refusal = 2 // another identity has the name
	RefusalBucket  Refusal = 3 // the leader's bucket does not hold the node's boot object
)
