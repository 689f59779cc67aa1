package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/wpd-io/wpd/cluster"
)

// Cluster says how a node finds the others. The zero value is a node that is
// alone. The addresses are HOST:PORT; a port 0 takes a free one.
type Cluster struct {
	// RaftListen is where the raft group's own connections come in. It makes
	// the node one of several; then GossipListen and Config.Listen are needed
	// too. Empty: the node is alone, and none of the others is looked at.
	RaftListen string
	// GossipListen is where nodes look for each other, by TCP and UDP.
	GossipListen string
	// AdvertiseGRPC, AdvertiseHTTP, AdvertiseRaft and AdvertiseGossip are what
	// the other nodes, and clients, are told; empty: where the node listens.
	AdvertiseGRPC, AdvertiseHTTP, AdvertiseRaft, AdvertiseGossip string
	// Join are gossip addresses of some of the other nodes. This node's own
	// may be among them, so that all nodes can have the same list.
	Join []string
	// Expect is how many new nodes, 1 to 5, wait for each other and then found
	// the cluster together; 0: this one founds none. A node that is a member
	// already does not look at it, nor at Bootstrap.
	Expect int
	// Bootstrap founds a cluster with this node alone, which others join.
	Bootstrap bool
	// Zone is where the node is; logs may ask for a writer in a zone.
	Zone string
	// Voters is how many nodes vote, 3 or 5; others have the same metadata
	// and do not vote. Default 3, or 5 if more than 3 are expected.
	Voters int
	// RemoveDead is for how long a node may be gone until it is removed for
	// good. Default 72 h, negative: never.
	RemoveDead time.Duration
	// LeaseTTL is how long a node that is not heard of keeps what it writes;
	// others take over then. Default 3 s.
	LeaseTTL time.Duration
	// MovesPerSecond bounds how many logs change hands so that all nodes have
	// their share. Default 10, negative: none.
	MovesPerSecond float64
	// Network is used in place of the system's, for tests. With it,
	// Config.Listener is what clients and other nodes reach at AdvertiseGRPC.
	Network cluster.Network
}

// What zero means.
const (
	LeaseTTLDefault       = 3 * time.Second
	MovesPerSecondDefault = 10
)

// on says whether the node is one of several.
func (c *Cluster) on() bool { return c.RaftListen != "" }

// dialer is how other nodes are reached; nil: by TCP.
func (c *Cluster) dialer() func(ctx context.Context, addr string) (net.Conn, error) {
	if c.Network == nil {
		return nil
	}
	return c.Network.Dial
}

func (c *Config) validateCluster() error {
	x := &c.Cluster
	if x.LeaseTTL == 0 {
		x.LeaseTTL = LeaseTTLDefault
	}
	if x.MovesPerSecond == 0 {
		x.MovesPerSecond = MovesPerSecondDefault
	}
	switch {
	case !x.on() && (x.GossipListen != "" || len(x.Join) > 0 || x.Expect != 0 || x.Bootstrap):
		return errors.New("a node that is to be one of several needs an address for raft")
	case !x.on():
		return nil
	case c.Listen == "" && c.Listener == nil:
		return errors.New("a node that is one of several needs a gRPC listener: the others reach it there")
	case x.LeaseTTL < 500*time.Millisecond || x.LeaseTTL > time.Minute:
		return fmt.Errorf("leases of %v, want 500ms to 1m", x.LeaseTTL)
	}
	return nil
}
