package server

import (
	"context"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"

	adminv1 "github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/wal/api"
)

// Cluster is the cluster as who runs it sees it from a node. All methods may be
// called at the same time. Nodes are named as they were configured. Errors are
// those of wal/api: ErrNotFound (no such node, no such log), ErrForbidden (what
// would do harm; the text says why), ErrInvalid, ErrUnavailable, ErrUncertain.
type Cluster interface {
	// Cluster tells how the cluster is, as this node sees it.
	Cluster(ctx context.Context) (*adminv1.GetClusterResponse, error)
	// Nodes lists all members that were not removed, by name.
	Nodes(ctx context.Context) ([]*adminv1.Node, error)
	// MoveLog hands a log over, and returns which node wrote it before.
	MoveLog(ctx context.Context, log, node string) (from string, err error)
	// DrainNode takes all logs off a node. It returns once the node may be
	// stopped; progress is told, from this goroutine, how many are left.
	DrainNode(ctx context.Context, node string, progress func(left uint64) error) error
	// FillNode ends a drain.
	FillNode(ctx context.Context, node string) error
	// RemoveNode takes a node out of the cluster for ever, and returns its
	// identity.
	RemoveNode(ctx context.Context, node string) (identity string, err error)
	// TransferLeader makes a node, or any other if node is empty, the leader,
	// and returns which one leads then.
	TransferLeader(ctx context.Context, node string) (leader string, err error)
	// SaveSnapshot writes the metadata as this node has it, after a
	// confirmation.
	SaveSnapshot(ctx context.Context, w io.Writer) error
	// UpgradeCluster raises the feature level as far as all nodes know it.
	UpgradeCluster(ctx context.Context) (from, level uint64, err error)
}

// clusterService is wpd.admin.v1.ClusterService.
type clusterService struct {
	adminv1.UnimplementedClusterServiceServer
	admin   *adminService
	cluster Cluster
	saving  sync.Mutex // one snapshot at a time is in memory
}

func (c *clusterService) GetCluster(ctx context.Context, _ *adminv1.GetClusterRequest) (*adminv1.GetClusterResponse, error) {
	return c.cluster.Cluster(ctx)
}

func (c *clusterService) ListNodes(ctx context.Context, _ *adminv1.ListNodesRequest) (*adminv1.ListNodesResponse, error) {
	nodes, err := c.cluster.Nodes(ctx)
	return &adminv1.ListNodesResponse{Nodes: nodes}, err
}

func (c *clusterService) MoveLog(ctx context.Context, r *adminv1.MoveLogRequest) (*adminv1.MoveLogResponse, error) {
	if err := named("log_name", r.GetLogName(), "node_id", r.GetNodeId()); err != nil {
		return nil, err
	}
	from, err := c.cluster.MoveLog(ctx, r.GetLogName(), r.GetNodeId())
	return &adminv1.MoveLogResponse{FromNodeId: from}, err
}

func (c *clusterService) DrainNode(r *adminv1.DrainNodeRequest, stream grpc.ServerStreamingServer[adminv1.DrainNodeResponse]) error {
	if err := named("node_id", r.GetNodeId()); err != nil {
		return err
	}
	ctx := stream.Context()
	err := c.cluster.DrainNode(ctx, r.GetNodeId(), func(left uint64) error {
		return c.admin.sendSoon(ctx, stream, &adminv1.DrainNodeResponse{LogsLeft: left})
	})
	if err != nil {
		return err
	}
	return c.admin.sendSoon(ctx, stream, &adminv1.DrainNodeResponse{Safe: true})
}

func (c *clusterService) FillNode(ctx context.Context, r *adminv1.FillNodeRequest) (*adminv1.FillNodeResponse, error) {
	if err := named("node_id", r.GetNodeId()); err != nil {
		return nil, err
	}
	return &adminv1.FillNodeResponse{}, c.cluster.FillNode(ctx, r.GetNodeId())
}

func (c *clusterService) RemoveNode(ctx context.Context, r *adminv1.RemoveNodeRequest) (*adminv1.RemoveNodeResponse, error) {
	if err := named("node_id", r.GetNodeId()); err != nil {
		return nil, err
	}
	identity, err := c.cluster.RemoveNode(ctx, r.GetNodeId())
	return &adminv1.RemoveNodeResponse{Identity: identity}, err
}

func (c *clusterService) TransferLeader(ctx context.Context, r *adminv1.TransferLeaderRequest) (*adminv1.TransferLeaderResponse, error) {
	leader, err := c.cluster.TransferLeader(ctx, r.GetNodeId())
	return &adminv1.TransferLeaderResponse{LeaderNodeId: leader}, err
}

func (c *clusterService) SaveSnapshot(_ *adminv1.SaveSnapshotRequest, stream grpc.ServerStreamingServer[adminv1.SaveSnapshotResponse]) error {
	if !c.saving.TryLock() {
		return &api.BusyError{What: "the node saves its metadata for somebody else"}
	}
	defer c.saving.Unlock()
	ctx, cancel := c.admin.untilDrain(stream.Context())
	defer cancel()
	w := &pieces{send: func(b []byte) error {
		return c.admin.sendSoon(ctx, stream, &adminv1.SaveSnapshotResponse{Data: b})
	}}
	if err := c.cluster.SaveSnapshot(ctx, w); err != nil {
		return endOf(ctx, err)
	}
	return endOf(ctx, w.flush())
}

func (c *clusterService) UpgradeCluster(ctx context.Context, _ *adminv1.UpgradeClusterRequest) (*adminv1.UpgradeClusterResponse, error) {
	from, level, err := c.cluster.UpgradeCluster(ctx)
	return &adminv1.UpgradeClusterResponse{FromLevel: from, Level: level}, err
}

// named refuses what is left empty; fields are names and values in turn.
func named(fields ...string) error {
	for i := 0; i < len(fields); i += 2 {
		if fields[i+1] == "" {
			return fmt.Errorf("%w: %s is empty", api.ErrInvalid, fields[i])
		}
	}
	return nil
}

// pieces sends what is written to it in messages of objectPieceBytes.
type pieces struct {
	send func([]byte) error
	buf  []byte
}

func (p *pieces) Write(b []byte) (n int, err error) {
	for n < len(b) {
		k := min(len(b)-n, objectPieceBytes-len(p.buf))
		p.buf = append(p.buf, b[n:n+k]...)
		if n += k; len(p.buf) == objectPieceBytes {
			if err := p.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (p *pieces) flush() error {
	if len(p.buf) == 0 {
		return nil
	}
	b := p.buf
	p.buf = nil // a message keeps it
	return p.send(b)
}
