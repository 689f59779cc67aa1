package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/node"
)

// servingFormat is what a server says once it serves.
const servingFormat = "serving %s\n"

// newBenchServerCommand is the process that bench all --daemon measures: a node
// as wpd dev runs it, without a word to anybody.
func newBenchServerCommand() *cobra.Command {
	var cfg node.Config
	cmd := &cobra.Command{
		Use:    "server",
		Short:  "The process that bench all --daemon measures",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// A Ctrl-C is for the bench, which ends us when it is done.
			ctx, cancel := untilClosed(context.WithoutCancel(cmd.Context()), cmd.InOrStdin())
			defer cancel()
			return serveQuietly(ctx, cmd.OutOrStdout(), cfg)
		},
	}
	cmd.Flags().StringVar(&cfg.Bucket, "bucket", "", "URL of the object store")
	cmd.Flags().StringVar(&cfg.DataDir, "data-dir", "", "the node's own state")
	return cmd
}

// serveQuietly serves on the loopback until ctx ends.
func serveQuietly(ctx context.Context, w io.Writer, cfg node.Config) (err error) {
	limitMemory(cfg.Log)
	v := readVersion()
	cfg.Listen, cfg.HTTPListen, cfg.AllowBench, cfg.Version, cfg.Commit = "127.0.0.1:0", "127.0.0.1:0", true, v.Version, v.Commit
	n, err := node.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if _, err := fmt.Fprintf(w, servingFormat, n.Addr()); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-n.Failed():
		return n.Err()
	}
}

// serverStopWait is how long a server may take to end.
const serverStopWait = 30 * time.Second

// serveForBench starts a server in a process and a temporary directory of its
// own, within dir. stop must be called: it ends it, and removes all that it has
// stored.
func serveForBench(ctx context.Context, dir string) (addr string, stop func() error, err error) {
	temp, err := os.MkdirTemp(dir, "wpd-bench-")
	if err != nil {
		return "", nil, err
	}
	c, err := startChild(context.WithoutCancel(ctx), "bench", "server",
		"--bucket", fileURL(filepath.Join(temp, "objects")), "--data-dir", filepath.Join(temp, "node"))
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(temp))
	}
	stop = func() error { return errors.Join(endServer(c), os.RemoveAll(temp)) }
	line, _ := c.out.ReadString('\n')
	if _, err := fmt.Sscanf(line, servingFormat, &addr); err != nil {
		c.kill()
		return "", nil, errors.Join(fmt.Errorf("the server ended before it served: %w", err), stop())
	}
	return addr, stop, nil
}

// endServer lets a server end, and kills it if it takes too long.
func endServer(c *child) error {
	c.end()
	late := time.AfterFunc(serverStopWait, c.kill)
	defer late.Stop()
	if err := c.wait(); err != nil {
		return fmt.Errorf("the server ended: %w: %s", err, c.complaints())
	}
	return nil
}
