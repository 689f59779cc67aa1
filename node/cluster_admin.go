package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/client"
	"github.com/wpd-io/wpd/rpc/server"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/wal/api"
)

// This is the cluster as who runs it sees it from this node. What the leader, or
// another node, has to do is asked there.
var _ server.Cluster = (*Node)(nil)

// Cluster tells how the cluster is, as this node sees it.
func (n *Node) Cluster(context.Context) (*adminv1.GetClusterResponse, error) {
	m := n.member
	r := &adminv1.GetClusterResponse{NodeId: m.Name(), ClusterId: m.ClusterID().String()}
	leader := m.Leader()
	for _, x := range m.Members() {
		if x.Role == cluster.RoleVoter {
			r.Voters++
		}
	}
	m.View(func(s *fsm.State) {
		c := s.Cluster()
		r.Incarnation, r.FeatureLevel, r.RaftIndex, r.Logs = c.Incarnation, c.Feature, s.AppliedIndex(), uint64(s.LogCount())
		r.FeatureLevelMax = featureMax(s)
		for x := range s.Nodes() {
			if !x.Removed {
				r.Nodes++
			}
			if x.Identity == leader {
				r.LeaderNodeId = x.Name
			}
		}
		for x := range s.Unsealed() {
			if x.State == fsm.ChainOpen {
				r.ChainsOpen++
			} else {
				r.ChainsSealing++
			}
		}
		r.ChainsSealed = uint64(s.ChainCount()) - r.ChainsOpen - r.ChainsSealing
	})
	return r, nil
}

// featureMax is the highest feature level that every node knows.
func featureMax(s *fsm.State) uint64 {
	level := uint64(fsm.FeatureLevel)
	for n := range s.Nodes() {
		if !n.Removed {
			level = min(level, n.Feature)
		}
	}
	return level
}

// Nodes lists the members. Only the leader knows of their leases and loads.
func (n *Node) Nodes(ctx context.Context) ([]*adminv1.Node, error) {
	if !n.member.Leads() {
		return viaLeader(ctx, n, func(a *client.Admin) ([]*adminv1.Node, error) { return a.Nodes(ctx) })
	}
	standings, err := n.member.Standings(ctx)
	if err != nil {
		return nil, notNow("ask who is there", err)
	}
	members := make(map[string]cluster.MemberInfo)
	for _, x := range n.member.Members() {
		members[x.Identity] = x
	}
	var all []*adminv1.Node
	n.member.View(func(s *fsm.State) {
		for node := range s.Nodes() {
			if node.Removed {
				continue
			}
			x := nodeOf(node, members[node.Identity])
			for c := range s.Unsealed() {
				if c.Node == node.Identity && c.State == fsm.ChainOpen {
					x.ChainEpochs = append(x.ChainEpochs, uint64(c.Epoch))
				}
			}
			for _, t := range standings {
				if t.Identity == node.Identity {
					stand(x, t, s.AppliedIndex())
				}
			}
			all = append(all, x)
		}
	})
	slices.SortFunc(all, func(a, b *adminv1.Node) int { return cmp.Compare(a.NodeId, b.NodeId) })
	return all, nil
}

func nodeOf(n *fsm.Node, m cluster.MemberInfo) *adminv1.Node {
	role := "none"
	switch {
	case m.Leader:
		role = "leader"
	case m.Identity != "":
		role = string(m.Role)
	}
	return &adminv1.Node{
		NodeId: n.Name, Identity: n.Identity, GrpcAddr: n.GRPC, HttpAddr: n.HTTP, RaftAddr: n.Raft, GossipAddr: n.Gossip,
		Zone: n.Zone, Version: n.Version, Boot: n.Boot, Role: role, FeatureLevelMax: n.Feature,
	}
}

// stand adds what the leader knows of a node.
func stand(x *adminv1.Node, t cluster.Standing, index uint64) {
	x.LeaseHeld, x.LeaseAgeMicros = t.Alive, uint64(max(t.Age, 0).Microseconds())
	x.RaftIndex, x.Trails = t.Applied, index-min(index, t.Applied)
	x.Logs, x.BytesPerSecond, x.Draining = t.Report.Logs, t.Report.BytesPerSec, t.Report.Draining
}

// find returns the node of a name that is a member.
func (n *Node) find(name string) (*fsm.Node, error) {
	var found *fsm.Node
	var names []string
	n.member.View(func(s *fsm.State) {
		for x := range s.Nodes() {
			if x.Removed {
				continue
			}
			if names = append(names, x.Name); x.Name == name || x.Identity == name {
				found = x
			}
		}
	})
	if found == nil {
		return nil, fmt.Errorf("node %q: %w; there are %s", name, api.ErrNotFound, strings.Join(names, ", "))
	}
	return found, nil
}

// RemoveNode takes a node out of the cluster for ever. The leader does it.
func (n *Node) RemoveNode(ctx context.Context, name string) (string, error) {
	x, err := n.find(name)
	if err != nil {
		return "", err
	}
	if !n.member.Leads() {
		return viaLeader(ctx, n, func(a *client.Admin) (string, error) { return a.RemoveNode(ctx, name) })
	}
	return x.Identity, refusal("remove node "+x.Name, n.member.Remove(ctx, x.Identity))
}

// TransferLeader makes a node, or any other, the leader. The leader does it.
func (n *Node) TransferLeader(ctx context.Context, name string) (string, error) {
	identity := ""
	if name != "" {
		x, err := n.find(name)
		if err != nil {
			return "", err
		}
		identity = x.Identity
	}
	if !n.member.Leads() {
		return viaLeader(ctx, n, func(a *client.Admin) (string, error) { return a.TransferLeader(ctx, name) })
	}
	if err := n.member.TransferLeader(ctx, identity); err != nil {
		return "", refusal("transfer leadership", err)
	}
	// Who leads then, this member hears of as everybody does.
	if err := n.member.Confirm(ctx); err != nil {
		return "", notNow("find out who leads", err)
	}
	c, err := n.Cluster(ctx)
	return c.GetLeaderNodeId(), err
}

// SaveSnapshot writes the metadata.
func (n *Node) SaveSnapshot(ctx context.Context, w io.Writer) error {
	return refusal("save the metadata", n.member.Snapshot(ctx, w))
}

// UpgradeCluster raises the feature level as far as all nodes know it.
func (n *Node) UpgradeCluster(ctx context.Context) (from, level uint64, err error) {
	if err := n.member.Confirm(ctx); err != nil {
		return 0, 0, notNow("find out what all nodes know", err)
	}
	n.member.View(func(s *fsm.State) { from, level = s.Cluster().Feature, featureMax(s) })
	if level <= from {
		return from, from, nil
	}
	_, err = n.member.Propose(ctx, fsm.NewSetFeature(from, level))
	return from, level, refusal("raise the feature level", err)
}

// viaLeader has the leader answer a question. One that another node has passed
// on already ends here: leadership has moved meanwhile.
func viaLeader[T any](ctx context.Context, n *Node, f func(*client.Admin) (T, error)) (T, error) {
	leader := n.member.Leader()
	if leader == "" {
		var none T
		return none, fmt.Errorf("%w: no leader is known", api.ErrUnavailable)
	}
	return viaNode(ctx, n, leader, f)
}

// viaNode has another node answer a question.
func viaNode[T any](ctx context.Context, n *Node, identity string, f func(*client.Admin) (T, error)) (answer T, err error) {
	if rpc.Forwarded(ctx) {
		return answer, fmt.Errorf("%w: who has to do it has changed meanwhile", api.ErrUnavailable)
	}
	addr := n.addressOf(identity)
	if addr == "" {
		return answer, fmt.Errorf("%w: node %s has no address", api.ErrUnavailable, identity)
	}
	a, err := client.DialAdmin(ctx, client.Config{Addrs: []string{addr}, Forwarded: true, Dialer: n.cfg.Cluster.dialer(), Logger: n.cfg.Logger})
	if err != nil {
		return answer, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	return f(a)
}

// notNow says what could not be done now.
func notNow(what string, err error) error {
	return fmt.Errorf("%w: %s: %w", api.ErrUnavailable, what, err)
}

// refusal puts an error of room cluster into words that cross the wire.
func refusal(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, cluster.ErrUncertain):
		return fmt.Errorf("%w: %s: %w", api.ErrUncertain, what, err)
	case errors.Is(err, cluster.ErrRefused):
		return fmt.Errorf("%w: %s: %w", api.ErrForbidden, what, err)
	}
	if _, ok := errors.AsType[*cluster.MemberError](err); ok {
		return fmt.Errorf("%w: %s: %w", api.ErrForbidden, what, err)
	}
	return notNow(what, err)
}
