package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/rpc/client"
	adminv1 "github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/wal/api"
)

const (
	// drainAtOnce is how many logs change hands at the same time.
	drainAtOnce = 32
	// drainTick is how often a drain tells how far it is.
	drainTick = 100 * time.Millisecond
	// dispensableTick is how often it asks the leader who is there.
	dispensableTick = time.Second
)

// DrainNode takes all logs off a node. The node itself does it.
func (n *Node) DrainNode(ctx context.Context, name string, progress func(left uint64) error) error {
	node, err := n.find(name)
	if err != nil {
		return err
	}
	if node.Identity != n.member.Identity() {
		_, err := viaNode(ctx, n, node.Identity, func(a *client.Admin) (nothing, error) {
			var told error
			err := a.DrainNode(ctx, name, func(left uint64) { told = errors.Join(told, progress(left)) })
			return nothing{}, errors.Join(err, told)
		})
		return err
	}
	if err := n.drainLogs(ctx, progress); err != nil {
		return err
	}
	return n.dispensable(ctx, progress)
}

// dispensable waits until the other voters that are well are a majority without
// this node: a log that nobody can take over is not safe either. Where there are
// fewer than three nodes they never would be.
func (n *Node) dispensable(ctx context.Context, progress func(left uint64) error) error {
	// The question is this node's own, wherever the drain came from.
	own, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	for {
		nodes, err := n.Nodes(own)
		if err == nil && hasMajorityWithout(nodes, n.member.Name()) {
			return nil
		}
		n.cfg.Logger.Debug("drained, but the others are no majority yet", "err", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: it writes no log any more, but without it there would be no majority: %w", api.ErrUnavailable, ctx.Err())
		case <-time.After(dispensableTick):
		}
		if err := progress(0); err != nil {
			return err
		}
	}
}

// hasMajorityWithout says whether a cluster goes on without a node.
func hasMajorityWithout(nodes []*adminv1.Node, name string) bool {
	voters, others := 0, 0
	for _, x := range nodes {
		if role := x.GetRole(); role == "leader" || role == string(cluster.RoleVoter) {
			voters++
			if x.GetLeaseHeld() && x.GetNodeId() != name {
				others++
			}
		}
	}
	return len(nodes) < 3 || others > voters/2
}

// drainLogs takes all logs off this node, and keeps new ones away from it.
func (n *Node) drainLogs(ctx context.Context, progress func(left uint64) error) error {
	logs, err := n.here(ctx)
	if err != nil {
		return err
	}
	n.setDraining(true)
	released := make(chan error, 1)
	go func() { released <- logs.ReleaseAll(ctx, drainAtOnce) }()
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	for {
		select {
		case err := <-released:
			return err
		case <-tick.C:
			if err := progress(n.owned()); err != nil {
				return errors.Join(err, <-released)
			}
		}
	}
}

// owned is how many logs this node, which is open, writes.
func (n *Node) owned() (logs uint64) {
	for range n.logs.Owned() {
		logs++
	}
	return logs
}

// setDraining has this node, which is open, take no logs, or take some again.
func (n *Node) setDraining(draining bool) {
	n.logs.SetDraining(draining)
	n.member.SetDraining(draining)
}

// FillNode ends a drain. The node itself does it.
func (n *Node) FillNode(ctx context.Context, name string) error {
	node, err := n.find(name)
	if err != nil {
		return err
	}
	if node.Identity != n.member.Identity() {
		_, err := viaNode(ctx, n, node.Identity, func(a *client.Admin) (nothing, error) { return nothing{}, a.FillNode(ctx, name) })
		return err
	}
	if _, err := n.here(ctx); err != nil {
		return err
	}
	n.setDraining(false)
	return nil
}
