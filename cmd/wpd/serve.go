package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/node"
)

func newServeCommand() *cobra.Command {
	s := newSettings()
	endWithStdin := false
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a server",
		Long: `Run a server: one node on a bucket and a data directory, for wpd's command line
and for programs that call wpd.Dial. With --join, --bootstrap-expect or --bootstrap it
is one of several, which take over from each other.

Each setting is taken from a flag, or else from a variable (--data-dir is
WPD_DATA_DIR), or else from the file that --config names (data_dir), or else it
has its default. wpd config show prints what is in effect.

It logs on stderr, and says "ready" there once it serves. SIGTERM or an interrupt
ends it in good order, within --close-timeout and with exit code 0: new work is
refused, what was taken is answered, everything is flushed, the chain is sealed.
A second signal ends it at once; then the next start seals.`,
		Example: `  wpd serve --bucket file:///var/lib/wpd/objects --data-dir /var/lib/wpd/node
  wpd serve --config /etc/wpd/wpd.yaml --log-format json
  wpd serve --config /etc/wpd/wpd.yaml --join n1:7072,n2:7072,n3:7072 --bootstrap-expect 3
  WPD_BUCKET='s3://wpd?region=eu-central-1' wpd serve --data-dir /var/lib/wpd/node`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.load(cmd, os.Environ()); err != nil {
				return err
			}
			if err := s.complete(cmd); err != nil {
				return err
			}
			ctx := cmd.Context()
			if endWithStdin {
				var cancel context.CancelFunc
				ctx, cancel = untilClosed(ctx, cmd.InOrStdin())
				defer cancel()
			}
			return (&service{settings: s, out: cmd.ErrOrStderr()}).run(ctx)
		},
	}
	s.addFlags(cmd)
	cmd.Flags().BoolVar(&endWithStdin, "end-with-stdin", false, "stop in good order when standard input ends, as whoever started this may be gone")
	_ = cmd.Flags().MarkHidden("end-with-stdin") // it is there
	cmd.SetFlagErrorFunc(s.flagError)
	return cmd
}

// complete says what a server can't do without.
func (s *settings) complete(cmd *cobra.Command) error {
	switch {
	case s.node.Bucket == "":
		return usagef(cmd, "no bucket: --bucket URL, WPD_BUCKET, or bucket in the file of settings; for example file:///var/lib/wpd/objects")
	case s.node.DataDir == "" && !strings.HasPrefix(s.node.Bucket, "mem:"):
		return usagef(cmd, "no data directory: --data-dir DIR, WPD_DATA_DIR, or data_dir in the file of settings; for example /var/lib/wpd/node")
	}
	return nil
}

// service is a node that this process runs until it is told to stop.
type service struct {
	*settings
	out    io.Writer        // for the log, and for people
	opened func(*node.Node) // called before it is ready; may be nil
}

// run opens the node and serves until ctx ends or the node fails.
func (s *service) run(ctx context.Context) error {
	c := s.config()
	v := readVersion()
	c.Version, c.Commit = v.Version, v.Commit
	c.Level = s.level()
	c.Logger = slog.New(s.handler(c.Level))
	limitMemory(c.Log)
	log := c.Logger
	log.Info("wpd starts", "version", v.Version, "commit", v.Commit, "node", c.Name,
		"bucket", blobstore.Redact(c.Bucket), "data_dir", c.DataDir, "listen", c.Listen, "http_listen", c.HTTPListen,
		"raft_listen", c.Cluster.RaftListen, "gossip_listen", c.Cluster.GossipListen)
	start := time.Now()
	n, err := node.Open(ctx, c)
	switch {
	case err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled):
		log.Info("stopped before it was ready")
		return nil
	case err != nil:
		return openAdvice(err)
	}
	status, err := n.Status(ctx)
	if err != nil {
		return errors.Join(err, n.Close())
	}
	log.Info("wpd is open", "node", status.GetNodeId(), "identity", status.GetIdentity(), "cluster", status.GetClusterId(),
		"boot", status.GetBoot(), "bucket", status.GetBucket(), "listen", addrText(n.Addr()), "http_listen", addrText(n.HTTPAddr()),
		"took", time.Since(start).Round(time.Millisecond))
	if s.opened != nil {
		s.opened(n)
	}
	s.sayReady(n)
	select {
	case <-ctx.Done():
		log.Info("stopping: answering what was taken, flushing, sealing", "within", c.CloseTimeout)
		start := time.Now()
		if err := closeWithin(n, c.CloseTimeout); err != nil {
			code, _ := classify(err)
			return advise(&exitError{code, fmt.Errorf("stop in good order: %w", err)}, "start it again: what is missing is done first")
		}
		log.Info("stopped", "took", time.Since(start).Round(time.Millisecond))
		return nil
	case <-n.Failed():
		return errors.Join(fmt.Errorf("the node has failed: %w", n.Err()), closeWithin(n, c.CloseTimeout))
	}
}

// handler writes the log as log_format says.
func (s *service) handler(level slog.Leveler) slog.Handler {
	options := &slog.HandlerOptions{Level: level}
	if s.logFormat == "json" {
		return slog.NewJSONHandler(s.out, options)
	}
	return slog.NewTextHandler(s.out, options)
}

// sayReady says, whatever the log level is, that the node serves and where: a
// line that starts with "ready", or a record with that message.
func (s *service) sayReady(n *node.Node) {
	grpc, http := addrText(n.Addr()), addrText(n.HTTPAddr())
	if s.logFormat == "json" {
		slog.New(s.handler(slog.LevelInfo)).Info("ready", "grpc", grpc, "http", http)
		return
	}
	fmt.Fprintf(s.out, "ready grpc=%s http=%s\n", grpc, http)
}

func addrText(a interface{ String() string }) string {
	if a == nil {
		return noneWord
	}
	return a.String()
}

// closeGrace is how much longer than its timeout a node may take to close: it
// covers what can't be given up, such as a system call on a disk that hangs.
const closeGrace = 5 * time.Second

// closeWithin closes the node. One that does not come back is left behind: the
// process ends.
func closeWithin(n *node.Node, timeout time.Duration) error {
	closed := make(chan error, 1)
	go func() { closed <- n.Close() }()
	late := time.NewTimer(timeout + closeGrace)
	defer late.Stop()
	select {
	case err := <-closed:
		return err
	case <-late.C:
		return fmt.Errorf("not closed within %v, and %v more", timeout, closeGrace)
	}
}

// openAdvice says what to do about a node that does not open, where the error
// alone leaves that open.
func openAdvice(err error) error {
	if e, ok := errors.AsType[*node.InsecureError](err); ok {
		flag := "--listen"
		if e.Listener != "grpc" {
			flag = "--" + e.Listener + "-listen"
		}
		return advise(&exitError{exitUsage, err}, flag+" 127.0.0.1:PORT; or --insecure, in a network where everybody may do everything")
	}
	if typed[*node.BucketError](err) && !errors.Is(err, context.Canceled) {
		return advise(&exitError{exitUnavailable, err}, checkAccess)
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return advise(&exitError{exitConflict, err}, "stop what listens there, or choose another port: --listen, --http-listen, --raft-listen, --gossip-listen")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return advise(&exitError{exitUsage, err}, "an address of this machine: --listen, --http-listen, --raft-listen, --gossip-listen")
	}
	return err
}
