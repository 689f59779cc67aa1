package client

import (
	"context"
	"fmt"
	"io"

	"google.golang.org/grpc"

	adminv1 "github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/wal/api"
)

// askCluster makes a call of one request and one answer.
func askCluster[Q, A any](ctx context.Context, a *Admin, k kind, q Q, f func(adminv1.ClusterServiceClient, context.Context, Q, ...grpc.CallOption) (A, error)) (A, error) {
	return ask(ctx, a.pool, k, q, clusterOf, f)
}

func clusterOf(c *conn) adminv1.ClusterServiceClient { return adminv1.NewClusterServiceClient(c) }

// Cluster tells how the cluster is, as the node that answers sees it.
func (a *Admin) Cluster(ctx context.Context) (*adminv1.GetClusterResponse, error) {
	return askCluster(ctx, a, harmless, &adminv1.GetClusterRequest{}, adminv1.ClusterServiceClient.GetCluster)
}

// Nodes lists the members of the cluster, by name.
func (a *Admin) Nodes(ctx context.Context) ([]*adminv1.Node, error) {
	r, err := askCluster(ctx, a, harmless, &adminv1.ListNodesRequest{}, adminv1.ClusterServiceClient.ListNodes)
	return r.GetNodes(), err
}

// MoveLog makes a node the writer of a log, and returns which one was it before,
// "" if none. Errors: ErrNotFound, ErrForbidden, ErrUncertain.
func (a *Admin) MoveLog(ctx context.Context, log, node string) (from string, err error) {
	q := &adminv1.MoveLogRequest{LogName: log, NodeId: node}
	r, err := askCluster(ctx, a, harmless, q, adminv1.ClusterServiceClient.MoveLog)
	return r.GetFromNodeId(), err
}

// DrainNode takes all logs off a node, and returns once it may be stopped; nil
// for progress is nobody. Errors: ErrNotFound, ErrForbidden.
func (a *Admin) DrainNode(ctx context.Context, node string, progress func(left uint64)) error {
	safe := false
	err := receiveFrom(ctx, a, &adminv1.DrainNodeRequest{NodeId: node}, clusterOf, adminv1.ClusterServiceClient.DrainNode,
		func(m *adminv1.DrainNodeResponse) error {
			if safe = m.GetSafe(); !safe && progress != nil {
				progress(m.GetLogsLeft())
			}
			return nil
		})
	if err == nil && !safe {
		err = fmt.Errorf("%w: the node ended its answer early: it is not known whether it is drained", api.ErrUnavailable)
	}
	return err
}

// FillNode ends a drain. Errors: ErrNotFound.
func (a *Admin) FillNode(ctx context.Context, node string) error {
	_, err := askCluster(ctx, a, harmless, &adminv1.FillNodeRequest{NodeId: node}, adminv1.ClusterServiceClient.FillNode)
	return err
}

// RemoveNode takes a node out of the cluster for ever, and returns its
// identity. Errors: ErrNotFound, ErrForbidden, ErrUncertain.
func (a *Admin) RemoveNode(ctx context.Context, node string) (identity string, err error) {
	r, err := askCluster(ctx, a, changes, &adminv1.RemoveNodeRequest{NodeId: node}, adminv1.ClusterServiceClient.RemoveNode)
	return r.GetIdentity(), err
}

// TransferLeader makes a node the leader, any other one if node is empty, and
// returns which one leads then.
func (a *Admin) TransferLeader(ctx context.Context, node string) (leader string, err error) {
	r, err := askCluster(ctx, a, changes, &adminv1.TransferLeaderRequest{NodeId: node}, adminv1.ClusterServiceClient.TransferLeader)
	return r.GetLeaderNodeId(), err
}

// SaveSnapshot writes the cluster's metadata to w.
func (a *Admin) SaveSnapshot(ctx context.Context, w io.Writer) error {
	return receiveFrom(ctx, a, &adminv1.SaveSnapshotRequest{}, clusterOf, adminv1.ClusterServiceClient.SaveSnapshot,
		func(m *adminv1.SaveSnapshotResponse) error {
			_, err := w.Write(m.GetData())
			return err
		})
}

// UpgradeCluster raises the feature level as far as all nodes know it, and
// returns it as it was and as it is.
func (a *Admin) UpgradeCluster(ctx context.Context) (from, level uint64, err error) {
	r, err := askCluster(ctx, a, harmless, &adminv1.UpgradeClusterRequest{}, adminv1.ClusterServiceClient.UpgradeCluster)
	return r.GetFromLevel(), r.GetLevel(), err
}
