package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/node"
)

const (
	// addrEnv names the servers where --addr does not.
	addrEnv = "WPD_ADDR"
	// addrDefault is where wpd dev and wpd serve listen.
	addrDefault = "127.0.0.1:7070"
	// dialWait is how long a server may take to answer at all, if --timeout
	// allows so much: whoever waits longer waits for nobody.
	dialWait = 10 * time.Second
)

// addConnectFlags adds the flags that say which service a command is about: a
// server, or a node within this very process.
func addConnectFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSlice("addr", nil, "address of a server, or several, with commas (default $"+addrEnv+", or else "+addrDefault+")")
	f.Duration("timeout", 0, "end the command after this long (0: never)")
	f.String("bucket", "", "URL of a bucket: work on it with a node in this process, not with a server")
	f.String("data-dir", "", "data directory of that node")
	f.Bool(unsafeFlag[2:], false, "let that node work on a bucket that breaks its promises")
	_ = f.MarkHidden(unsafeFlag[2:]) // it is there; the error that it is for names it
}

// target is what the flags of addConnectFlags say.
type target struct {
	addrs           string // with commas
	bucket, dataDir string // of an embedded node; then addrs does not count
	unsafeBucket    bool   // that it works on all the same
	timeout         time.Duration
}

func targetOf(cmd *cobra.Command) (target, error) {
	f := cmd.Flags()
	addrs, _ := f.GetStringSlice("addr")
	t := target{}
	t.timeout, _ = f.GetDuration("timeout")
	t.bucket, _ = f.GetString("bucket")
	t.dataDir, _ = f.GetString("data-dir")
	t.unsafeBucket, _ = f.GetBool(unsafeFlag[2:])
	switch {
	case t.timeout < 0:
		return t, usagef(cmd, "--timeout is %v; want a time, or 0 for none", t.timeout)
	case t.bucket == "" && t.dataDir != "":
		return t, usagef(cmd, "--data-dir needs --bucket: both belong to a node in this process")
	case t.bucket != "" && len(addrs) > 0:
		return t, usagef(cmd, "--addr and --bucket exclude each other: a server has its own bucket")
	case t.bucket != "" && t.dataDir == "" && !strings.HasPrefix(t.bucket, "mem:"):
		return t, usagef(cmd, "--bucket needs --data-dir: a node keeps its own state there")
	}
	if f.Changed("addr") && strings.Trim(strings.Join(addrs, ""), " ,") == "" {
		return t, usagef(cmd, "--addr is empty; want HOST:PORT")
	}
	if len(addrs) == 0 {
		addrs = strings.Split(os.Getenv(addrEnv), ",")
	}
	if t.addrs = strings.Trim(strings.Join(addrs, ","), ", "); t.addrs == "" {
		t.addrs = addrDefault
	}
	return t, nil
}

// connect opens the service that the flags of addConnectFlags name, a server
// or a node in this process. ctx is the command's, and ends with --timeout.
// done closes everything and must be called, unless there is an error.
func connect(cmd *cobra.Command) (ctx context.Context, c *wpd.Client, done func() error, err error) {
	t, err := targetOf(cmd)
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := t.context(cmd.Context())
	var closer func() error
	if t.bucket != "" {
		var n *node.Node
		if n, err = t.open(ctx, node.Config{}); err == nil {
			c, closer = n.Client(), n.Close
		}
	} else if c, err = t.dial(ctx); err == nil {
		closer = c.Close
	}
	if err != nil {
		cancel()
		return nil, nil, nil, err
	}
	return ctx, c, func() error {
		defer cancel()
		return closer()
	}, nil
}

func (t target) context(ctx context.Context) (context.Context, context.CancelFunc) {
	if t.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, t.timeout)
}

// open starts a node in this process, with the bucket and the data directory
// of the flags.
func (t target) open(ctx context.Context, cfg node.Config) (*node.Node, error) {
	cfg.Bucket, cfg.DataDir, cfg.UnsafeBucket = t.bucket, t.dataDir, t.unsafeBucket
	limitMemory(cfg.Log)
	return node.Open(ctx, cfg)
}

// dial connects to a server.
func (t target) dial(ctx context.Context) (*wpd.Client, error) {
	dialing, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	c, err := wpd.Dial(dialing, t.addrs)
	return c, t.unreachable(err)
}

// unreachable says what to do about a server that does not answer.
func (t target) unreachable(err error) error {
	if !errors.Is(err, wpd.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return advise(err, "start a server: wpd dev; or say where one is: --addr HOST:PORT, or "+addrEnv)
}
