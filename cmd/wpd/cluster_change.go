package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/rpc/client"
)

func newClusterMoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "move LOG NODE",
		Short: "Let another node write a log",
		Long: `Let another node write a log. Its writers go on without an error: what is under way
is answered first, or comes again at the new node. It takes milliseconds.`,
		Example:           "  wpd cluster move orders n2",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeLogs,
	}
	return clusterCommand(cmd, func(ctx context.Context, a *client.Admin, args []string) error {
		from, err := a.MoveLog(ctx, args[0], args[1])
		if err != nil {
			return err
		}
		result := struct {
			Log  string `json:"log"`
			From string `json:"from"` // "": nobody wrote it
			To   string `json:"to"`
		}{args[0], from, args[1]}
		switch from {
		case "":
			return tellResult(cmd, result, "log %s is written by %s now; nobody did before", args[0], args[1])
		case args[1]:
			return tellResult(cmd, result, "nothing to do: log %s is written by %s", args[0], args[1])
		}
		return tellResult(cmd, result, "log %s is written by %s now, and no more by %s", args[0], args[1], from)
	})
}

func newClusterDrainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Take all logs off a node, so that it can be stopped",
		Long: `Take all logs off a node and give them to the others, without an error for who writes
them, and give it no new ones. It returns once the node may be stopped: it writes no
log, and the others that are well are a majority without it, where there are three or
more. It goes on if it is cut off and called again. The node serves reads all the
time. wpd cluster fill, or a restart of the node, ends it.`,
		Example: "  wpd cluster drain n2 --timeout 1m",
		Args:    cobra.ExactArgs(1),
	}
	return clusterCommand(cmd, func(ctx context.Context, a *client.Admin, args []string) error {
		p, empty := newProgress(cmd), false
		err := a.DrainNode(ctx, args[0], func(left uint64) {
			if empty = left == 0; empty {
				p.say("no log left on %s; waiting until the others are a majority without it", args[0])
				return
			}
			p.say("%s left on %s", plural(int(left), "log"), args[0])
		})
		p.clear()
		switch {
		case err != nil && empty:
			return fmt.Errorf("%s writes no log any more, but the others are no majority without it: %w", args[0], err)
		case err != nil:
			return err
		}
		return tellResult(cmd, struct {
			Node string `json:"node"`
			Safe bool   `json:"safe_to_stop"`
		}{args[0], true}, "%s writes no log any more, and may be stopped", args[0])
	})
}

func newClusterFillCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "fill NODE",
		Short:   "Give a drained node logs again",
		Example: "  wpd cluster fill n2",
		Args:    cobra.ExactArgs(1),
	}
	return clusterCommand(cmd, func(ctx context.Context, a *client.Admin, args []string) error {
		if err := a.FillNode(ctx, args[0]); err != nil {
			return err
		}
		return tellResult(cmd, struct {
			Node string `json:"node"`
		}{args[0]}, "%s gets logs again", args[0])
	})
}

func newClusterRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "Take a node out of a cluster, for ever",
		Long: `Take a node out of a cluster, for ever: its data directory can't be used again, its
chains are taken over, and its name is free for a new node. Drain it first if it runs.
On a terminal it asks first; where there is none it wants --yes.`,
		Example: "  wpd cluster remove n3\n  wpd cluster remove n3 --yes",
		Args:    cobra.ExactArgs(1),
	}
	clusterCommand(cmd, func(ctx context.Context, a *client.Admin, args []string) error {
		if err := confirm(ctx, cmd, fmt.Sprintf("This takes node %s out of the cluster, for ever", args[0]), args[0]); err != nil {
			return err
		}
		identity, err := a.RemoveNode(ctx, args[0])
		if err != nil {
			return err
		}
		return tellResult(cmd, struct {
			Node     string `json:"node"`
			Identity string `json:"identity"`
		}{args[0], identity}, "removed %s (%s); its data directory is of no use any more", args[0], identity)
	})
	addYesFlag(cmd)
	return cmd
}

func newClusterLeaderCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "transfer-leader [NODE]",
		Short:   "Let another voter lead the raft group",
		Example: "  wpd cluster transfer-leader\n  wpd cluster transfer-leader n2",
		Args:    cobra.MaximumNArgs(1),
	}
	return clusterCommand(cmd, func(ctx context.Context, a *client.Admin, args []string) error {
		node := ""
		if len(args) > 0 {
			node = args[0]
		}
		leader, err := a.TransferLeader(ctx, node)
		if err != nil {
			return err
		}
		return tellResult(cmd, struct {
			Leader string `json:"leader"`
		}{leader}, "%s leads now", leader)
	})
}
