package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/node"
)

func newDevCommand() *cobra.Command {
	d := &dev{settings: newSettings()}
	d.logLevel = "warn"
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a server for trying things",
		Long: `Run a server for trying things: one node that needs nothing else. Its objects are in
DIR/objects, its own state in DIR/node; without --dir both are in a temporary
directory, which is removed at exit.

With --nodes N it is a cluster of N nodes, each in a process of its own, whose pids it
prints: kill one, and see the others take over.

It logs warnings only, says on stderr where it listens, and then "ready". Clients
may measure the bucket (wpd bench --addr). One node also offers reflection: clients
may ask it for the gRPC interface. An interrupt or SIGTERM ends it in good order.`,
		Example: `  wpd dev
  wpd dev --dir ./wpd-data
  wpd dev --nodes 3
  wpd dev --listen 127.0.0.1:0 --http-listen none`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd) },
	}
	cmd.Flags().IntVar(&d.nodes, "nodes", 1, "how many nodes: 1 to 9; several run in processes of their own, on ports 10 apart")
	cmd.Flags().StringVar(&d.dir, "dir", "", "directory to keep everything in; it is made if it is not there (default: a temporary one)")
	d.addFlagsOf(cmd, "listen", "http_listen", "insecure", unsafeKey, "log_level", "log_format")
	return cmd
}

// dev is a server for trying things.
type dev struct {
	*settings
	dir   string
	nodes int
}

func (d *dev) run(cmd *cobra.Command) (err error) {
	if d.nodes < 1 || d.nodes > devNodesMax {
		return usagef(cmd, "--nodes %d; want 1 to %d", d.nodes, devNodesMax)
	}
	for _, flag := range []string{"http-listen", "insecure", "log-format"} {
		if d.nodes > 1 && cmd.Flags().Changed(flag) {
			return usagef(cmd, "--%s is for one node, not for --nodes %d", flag, d.nodes)
		}
	}
	lost := d.dir == ""
	if lost {
		if d.dir, err = os.MkdirTemp("", "wpd-dev-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(d.dir)) }()
	}
	if d.dir, err = filepath.Abs(d.dir); err != nil {
		return err
	}
	if d.nodes > 1 {
		return d.runNodes(cmd, d.nodes, lost)
	}
	n := &d.node
	n.Bucket, n.DataDir = fileURL(filepath.Join(d.dir, "objects")), filepath.Join(d.dir, "node")
	n.AllowBench, n.Reflection = true, true
	d.derive()
	d.noteFlags(cmd)
	w := cmd.ErrOrStderr()
	s := &service{settings: d.settings, out: w}
	s.opened = func(n *node.Node) {
		if d.logFormat == "json" {
			return // for a program; what it needs comes with "ready"
		}
		ink := inkFor(cmd, w)
		fmt.Fprintf(w, "%s %s\n  %s  %s\n", ink.bold("wpd dev"), readVersion().Version, ink.dim("gRPC"), addrText(n.Addr()))
		if a := n.HTTPAddr(); a != nil {
			fmt.Fprintf(w, "  %s  http://%s/\n", ink.dim("HTTP"), a)
		}
		fmt.Fprintf(w, "  %s  %s%s\n", ink.dim("data"), d.dir, keptText(lost))
	}
	return s.run(cmd.Context())
}

// keptText says, behind a directory, what will become of it.
func keptText(lost bool) string {
	if lost {
		return "  (temporary: lost at exit; --dir keeps it)"
	}
	return ""
}
