package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/rpc/client"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

// nodeJSON is a member of a cluster.
type nodeJSON struct {
	Node     string   `json:"node"`
	Identity string   `json:"identity"`
	Role     string   `json:"role"` // leader, voter, non-voter or none
	Zone     string   `json:"zone"`
	GRPC     string   `json:"grpc_addr"`
	HTTP     string   `json:"http_addr"`
	Raft     string   `json:"raft_addr"`
	Gossip   string   `json:"gossip_addr"`
	Index    uint64   `json:"raft_index"` // 0: not known
	Trails   uint64   `json:"trails"`     // raft indexes behind the leader
	Boot     uint64   `json:"boot"`
	Lease    bool     `json:"lease_held"`
	LeaseAge uint64   `json:"lease_age_us"` // since it was last renewed
	Chains   []uint64 `json:"chain_epochs"` // open
	Logs     uint64   `json:"logs"`         // that it writes
	Bytes    uint64   `json:"bytes_per_s"`
	Draining bool     `json:"draining"`
	Version  string   `json:"version"`
	Feature  uint64   `json:"feature_level_max"` // the highest that it knows
}

func makeNodeJSON(n *adminv1.Node) nodeJSON {
	return nodeJSON{
		Node: n.GetNodeId(), Identity: n.GetIdentity(), Role: n.GetRole(), Zone: n.GetZone(),
		GRPC: n.GetGrpcAddr(), HTTP: n.GetHttpAddr(), Raft: n.GetRaftAddr(), Gossip: n.GetGossipAddr(),
		Index: n.GetRaftIndex(), Trails: n.GetTrails(), Boot: n.GetBoot(), Lease: n.GetLeaseHeld(), LeaseAge: n.GetLeaseAgeMicros(),
		Chains: append([]uint64{}, n.GetChainEpochs()...), Logs: n.GetLogs(), Bytes: n.GetBytesPerSecond(),
		Draining: n.GetDraining(), Version: n.GetVersion(), Feature: n.GetFeatureLevelMax(),
	}
}

func newClusterNodesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "nodes",
		Aliases: []string{"list"},
		Short:   "List the nodes of a cluster",
		Long: `List the nodes of a cluster: their part in the raft group, how far their metadata
trails the leader's, their lease and what they write. With -o json each is one line,
with all its addresses.`,
		Example: "  wpd cluster nodes\n  wpd cluster nodes -o json | jq -r 'select(.role == \"leader\").node'",
		Args:    cobra.NoArgs,
	}
	return clusterCommand(cmd, func(ctx context.Context, a *client.Admin, _ []string) error {
		nodes, err := a.Nodes(ctx)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, n := range nodes {
			j := makeNodeJSON(n)
			if wantsObjects(cmd) {
				if err := printObject(cmd, j); err != nil {
					return err
				}
				continue
			}
			rows = append(rows, j.row())
		}
		if wantsObjects(cmd) {
			return nil
		}
		out := cmd.OutOrStdout()
		return printTable(out, inkFor(cmd, out), []column{
			{"node", true}, {"role", true}, {"zone", true}, {"address", true}, {"lease", true}, {"trails", false},
			{"chains", true}, {"logs", false}, {"MB/s", false}, {"version", true},
		}, rows)
	})
}

func (n nodeJSON) row() []string {
	lease := "none"
	if n.Lease {
		lease = "held, " + timeText(time.Duration(n.LeaseAge)*time.Microsecond) + " old"
	}
	if n.Draining {
		lease += ", draining"
	}
	trails := "-"
	if n.Index > 0 {
		trails = countText(n.Trails)
	}
	chains := strings.Trim(fmt.Sprint(n.Chains), "[]")
	return []string{
		n.Node, n.Role, cmp.Or(n.Zone, "-"), cmp.Or(n.GRPC, "-"), lease, trails,
		cmp.Or(chains, "-"), countText(n.Logs), digits(float64(n.Bytes) / 1e6), cmp.Or(n.Version, "-"),
	}
}
