package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/rpc/client"
)

func newClusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Nodes, and which of them writes what",
		Long: `Show and change a cluster: its nodes, who leads, and which node writes which log. Any
node may be asked; what only the leader or another node can do is done there.`,
		Example: `  wpd cluster nodes
  wpd cluster drain n2 && systemctl restart wpd   # on n2`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newClusterStatusCommand(), newClusterNodesCommand(), newClusterMoveCommand(), newClusterDrainCommand(),
		newClusterFillCommand(), newClusterRemoveCommand(), newClusterLeaderCommand(), newClusterUpgradeCommand(),
		newClusterSnapshotCommand(), newClusterRecoverCommand())
	return cmd
}

// clusterCommand makes cmd ask a server; do gets its arguments.
func clusterCommand(cmd *cobra.Command, do func(ctx context.Context, a *client.Admin, args []string) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		ctx, a, done, err := connectAdmin(cmd)
		if err != nil {
			return err
		}
		defer func() { err = joinDone(err, done) }()
		return do(ctx, a, args)
	}
	addServerFlags(cmd)
	return cmd
}

// tellResult prints what was done: for programs v, on stdout; for people text,
// on stderr.
func tellResult(cmd *cobra.Command, v any, format string, args ...any) error {
	if wantsObjects(cmd) {
		return printObject(cmd, v)
	}
	_, err := fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
	return err
}

// clusterStatus is a cluster at a glance.
type clusterStatus struct {
	Cluster     string `json:"cluster"`
	Leader      string `json:"leader"` // "": none is known
	Answered    string `json:"answered_by"`
	Nodes       uint32 `json:"nodes"`
	Voters      uint32 `json:"voters"`
	Logs        uint64 `json:"logs"`
	Open        uint64 `json:"chains_open"`
	Sealing     uint64 `json:"chains_sealing"`
	Sealed      uint64 `json:"chains_sealed"`
	RaftIndex   uint64 `json:"raft_index"`
	Incarnation uint64 `json:"incarnation"`
	Feature     uint64 `json:"feature_level"`
	FeatureMax  uint64 `json:"feature_level_max"` // what all nodes know
}

func newClusterStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show a cluster at a glance",
		Example: "  wpd cluster status\n  wpd cluster status -o json | jq -r .leader",
		Args:    cobra.NoArgs,
	}
	return clusterCommand(cmd, func(ctx context.Context, a *client.Admin, _ []string) error {
		c, err := a.Cluster(ctx)
		if err != nil {
			return err
		}
		s := &clusterStatus{
			Cluster: c.GetClusterId(), Leader: c.GetLeaderNodeId(), Answered: c.GetNodeId(), Nodes: c.GetNodes(), Voters: c.GetVoters(),
			Logs: c.GetLogs(), Open: c.GetChainsOpen(), Sealing: c.GetChainsSealing(), Sealed: c.GetChainsSealed(),
			RaftIndex: c.GetRaftIndex(), Incarnation: c.GetIncarnation(), Feature: c.GetFeatureLevel(), FeatureMax: c.GetFeatureLevelMax(),
		}
		return printResult(cmd, s, s.print)
	})
}

func (s *clusterStatus) print(w io.Writer, ink ink) error {
	leader := ink.red("none is known")
	if s.Leader != "" {
		leader = ink.bold(s.Leader)
	}
	sealing := ""
	if s.Sealing > 0 {
		sealing = ", " + countText(s.Sealing) + " being taken over"
	}
	feature := countText(s.Feature)
	if s.FeatureMax > s.Feature {
		feature += fmt.Sprintf(" (all nodes know %d: wpd cluster upgrade)", s.FeatureMax)
	}
	return printFields(w, ink, [][2]string{
		{"cluster", s.Cluster},
		{"leader", leader},
		{"nodes", fmt.Sprintf("%d, %d of them vote", s.Nodes, s.Voters)},
		{"logs", countText(s.Logs)},
		{"chains", fmt.Sprintf("%s open%s, %s sealed", countText(s.Open), sealing, countText(s.Sealed))},
		{"raft index", fmt.Sprintf("%d at %s", s.RaftIndex, s.Answered)},
		{"incarnation", countText(s.Incarnation)},
		{"feature level", feature},
	})
}

func newClusterUpgradeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Use what all nodes of a cluster know",
		Long: `Raise the cluster's feature level as far as every node knows it. New kinds of metadata
are not used before: so nodes of two versions can serve side by side while they are
restarted one by one. There is no way back; an older version refuses to start then.`,
		Example: "  wpd cluster upgrade",
		Args:    cobra.NoArgs,
	}
	return clusterCommand(cmd, func(ctx context.Context, a *client.Admin, _ []string) error {
		from, level, err := a.UpgradeCluster(ctx)
		if err != nil {
			return err
		}
		result := struct {
			From  uint64 `json:"from"`
			Level uint64 `json:"feature_level"`
		}{from, level}
		if from == level {
			return tellResult(cmd, result, "nothing to do: all nodes know feature level %d, and it is in use", level)
		}
		return tellResult(cmd, result, "feature level raised from %d to %d", from, level)
	})
}
