package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/wal/offline"
)

// aliveWait is how long a node is given to answer before it counts as gone.
const aliveWait = 3 * time.Second

const recoverLong = `It works offline, on the data directory of one node, and begins the next incarnation of
the metadata, with that node as the only member: all others, whatever state they are in,
are put out for ever, and join again as new ones, with empty data directories. It asks the
bucket what it holds beyond the metadata, seals every chain, and takes in every log and
every entry that was acknowledged. First it tells what it found, and asks; --dry-run ends
there.

What only the lost metadata knew, it can't know: see "it can't know" in what it says.
It may be cut off at any point, and run again.`

func newClusterRecoverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "recover --bucket URL --data-dir DIR",
		Short: "Go on without a majority, or from the bucket alone",
		Long: `Go on with a cluster of which a majority is gone for good, by the data directory of a
node that is left: best the one whose metadata are the latest. With a new data directory,
go on by what the bucket alone tells.

` + recoverLong,
		Example: `  wpd cluster recover --bucket s3://our-wal --data-dir /var/lib/wpd/node
  wpd cluster recover --bucket file:///srv/wpd --data-dir /var/lib/wpd/new --node-id n1 --dry-run`,
		Args: cobra.NoArgs,
	}
	return recoverCommand(cmd)
}

func newSnapshotRestoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE --bucket URL --data-dir DIR",
		Short: "Bring a cluster's metadata back from a file",
		Long: `Bring the metadata of a cluster back from a file that "wpd cluster snapshot save" wrote,
and go on from there. All nodes must be stopped. The data directory may be that of a
node, or a new one.

` + recoverLong,
		Example: `  wpd cluster snapshot restore wpd-metadata.snap --bucket s3://our-wal --data-dir /var/lib/wpd/node
  wpd cluster snapshot restore wpd-metadata.snap --bucket file:///srv/wpd --data-dir /var/lib/wpd/new --node-id n1 --yes`,
		Args: cobra.ExactArgs(1),
	}
	return recoverCommand(cmd)
}

// recoverCommand makes cmd begin another incarnation, from the file that its
// first argument names, or without one from the data directory.
func recoverCommand(cmd *cobra.Command) *cobra.Command {
	f := cmd.Flags()
	bucket := f.String("bucket", "", "URL of the cluster's bucket")
	dir := f.String("data-dir", "", "data directory of the node that goes on; made if it is not there")
	name := f.String("node-id", "", "its name (default that of the data directory, or n1)")
	dry := f.Bool("dry-run", false, "tell what was found, and what would be done, and end")
	addYesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case *bucket == "":
			return usagef(cmd, "no bucket: --bucket URL of the cluster's bucket")
		case *dir == "":
			return usagef(cmd, "no data directory: --data-dir DIR of the node that goes on, or of a new one")
		}
		return recoverCluster(cmd, node.RecoverConfig{Bucket: *bucket, DataDir: *dir, Name: *name, Alive: answers}, args, *dry)
	}
	return cmd
}

func recoverCluster(cmd *cobra.Command, c node.RecoverConfig, file []string, dry bool) (err error) {
	ctx := cmd.Context()
	if len(file) > 0 {
		f, err := os.Open(file[0])
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // it was only read
		c.Snapshot = f
	}
	// A directory that is not there is no bucket to be made.
	probe, err := openForReading(ctx, c.Bucket)
	if err != nil {
		return err
	}
	if err := probe.Close(); err != nil {
		return err
	}
	say := newProgress(cmd)
	c.Progress = func(p offline.Progress) { say.say("looking: %s of %s objects", countText(p.Objects), countText(p.Of)) }
	r, err := node.OpenRecovery(ctx, c)
	if err != nil {
		return recoverAdvice(err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	found, err := r.Look(ctx)
	say.clear()
	if err != nil {
		return err
	}
	if dry {
		return tellRecovery(cmd, found, c, false)
	}
	if !wantsObjects(cmd) {
		if err := tellRecovery(cmd, found, c, false); err != nil {
			return err
		}
	}
	what := fmt.Sprintf("This begins incarnation %d of the cluster, with node %s alone; no node of an earlier one starts again", found.Incarnation, found.Node)
	if err := confirm(ctx, cmd, what, found.Node); err != nil {
		return err
	}
	done, err := r.Run(ctx)
	say.clear()
	if err != nil {
		return runAdvice(err)
	}
	if wantsObjects(cmd) {
		return tellRecovery(cmd, done, c, true)
	}
	if !sameFindings(found, done) { // somebody wrote meanwhile
		if err := tellRecovery(cmd, done, c, true); err != nil {
			return err
		}
	}
	return sayGoOn(cmd, done, c)
}

// answers tells whether a node of a cluster serves at an address.
func answers(ctx context.Context, clusterID, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, aliveWait)
	defer cancel()
	a, err := dialOne(ctx, addr)
	if err != nil {
		return false
	}
	defer a.Close() //nolint:errcheck // nothing is under way
	s, err := a.Status(ctx)
	return err == nil && s.GetClusterId() == clusterID
}

// runAdvice says what to do about a recovery that was to begin, and has not
// succeeded. While nodes are alive, it does not begin.
func runAdvice(err error) error {
	if typed[*node.AliveError](err) {
		return recoverAdvice(err)
	}
	return advise(recoverAdvice(err), "run the same command again; if it had begun, no node of the cluster starts until it has succeeded")
}

// recoverAdvice says what to do where the error alone leaves that open.
func recoverAdvice(err error) error {
	switch {
	case typed[*node.AliveError](err):
		return advise(&exitError{exitConflict, err}, "stop them; if they can't be stopped, restore or recover is not what is needed")
	case typed[*cluster.SnapshotError](err):
		return advise(&exitError{exitConflict, err}, "use the file and the bucket that belong together")
	case typed[*cluster.DataDirError](err):
		return advise(err, "use a new --data-dir, with a saved snapshot if there is one")
	}
	return openAdvice(err)
}
