package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
)

// readCommand is what the flags of wpd read and wpd tail say.
type readCommand struct {
	from, until, format  string
	to, limit            uint64
	follow, linearizable bool
}

const readFormatsLong = `Formats:
  lines   each entry and a newline. But if the last entry that is read was the last
          line of an input that ended without a newline, none is written behind it;
          with --follow, and on a terminal, one is
  length  each entry preceded by its length, 4 bytes, big-endian
  json    one object a line: lsn, time, headers, and data (data_b64 if it is no
          UTF-8); wpd append --format json takes it back. -o json means the same
  raw     the entries, one right after another

Entries that are lost are told of on stderr; reading goes on behind them, and
the exit code is 7.`

func newReadCommand() *cobra.Command {
	var c readCommand
	cmd := &cobra.Command{
		Use:   "read LOG",
		Short: "Read the entries of a log",
		Long: `Write the entries of a log to stdout, in order, up to its end as it is now; with
--follow, also those that come later.

--from says where to start: earliest, tail (what comes from now on), an LSN, -N (the
last N entries), a time (2026-01-31T15:04:05Z), or -5m (five minutes ago, by the
clock of this machine; entries have the server's). --to and --until end before an
LSN and before a time.

With --bucket and no --data-dir the log is read from its bucket alone: no server, no
node and no data directory are needed, nothing is written, and nodes may write
meanwhile. LOG is then a name, the newest log of it if there were several; NAME@ID,
or @ID, is that very log. Trims since the log was last attached to a node, and
deletions, are not known to the bucket alone: such entries are still read.

` + readFormatsLong,
		Example: `  wpd read orders
  wpd read orders --from -100 --format json | jq .data
  wpd read orders --from 2026-01-31T00:00:00Z --until 2026-02-01T00:00:00Z
  wpd read orders --from 1000 --to 2000 --format length > part
  wpd read --bucket file:///var/lib/wpd/objects orders`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeLogs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(cmd, args[0])
		},
	}
	c.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&c.from, "from", "earliest", "where to start: earliest, tail, LSN, -N, a time, or -5m")
	f.BoolVarP(&c.follow, "follow", "f", false, "wait at the end, and go on as entries come")
	return cmd
}

func newTailCommand() *cobra.Command {
	var c readCommand
	var last uint64
	cmd := &cobra.Command{
		Use:   "tail LOG",
		Short: "Follow a log from its end",
		Long: `Write the entries of a log to stdout as they become durable, each at once: wpd read
--follow from the tail, or, with -n, from so many entries before it. It goes on
until it is interrupted, also when the server restarts.

` + readFormatsLong,
		Example: `  wpd tail orders
  wpd tail orders -n 10 --format json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeLogs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.follow, c.from = true, "tail"
			if last > 0 {
				c.from = fmt.Sprintf("-%d", last)
			}
			return c.run(cmd, args[0])
		},
	}
	c.addFlags(cmd)
	cmd.Flags().Uint64VarP(&last, "lines", "n", 0, "begin with the last so many entries")
	return cmd
}

func (c *readCommand) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Uint64Var(&c.to, "to", 0, "end before this LSN")
	f.StringVar(&c.until, "until", "", "end before the first entry appended at this time or later: a time, or -5m")
	f.Uint64Var(&c.limit, "limit", 0, "end after so many entries (0: no limit)")
	f.BoolVar(&c.linearizable, "linearizable", false, "see all that was acknowledged to anybody before")
	f.StringVar(&c.format, "format", "lines", "how to write the entries: "+oneOf(readFormats))
	addConnectFlags(cmd)
	completeValues(cmd, "format", readFormats...)
}

// selection is what to read, and how to write it.
type selection struct {
	from         place
	to           wpd.LSN   // 0: no end
	until        time.Time // zero: no end
	limit        uint64    // 0: no end
	follow       bool
	linearizable bool
	format       string
}

// parse makes sense of the flags together.
func (c *readCommand) parse(cmd *cobra.Command, now time.Time) (selection, error) {
	f := cmd.Flags()
	s := selection{to: wpd.LSN(c.to), limit: c.limit, follow: c.follow, linearizable: c.linearizable, format: c.format}
	switch {
	case !slices.Contains(readFormats, c.format):
		return s, fmt.Errorf("--format is %q; want %s", c.format, oneOf(readFormats))
	case outputFormat(cmd) == "yaml":
		return s, errors.New("entries are not written as YAML; want --format json")
	case wantsJSON(cmd) && f.Changed("format") && c.format != "json":
		return s, fmt.Errorf("-o json means --format json, but --format is %s", c.format)
	case wantsJSON(cmd):
		s.format = "json"
	}
	var err error
	if s.from, err = parsePlace(c.from, now); err != nil {
		return s, err
	}
	if c.until != "" {
		if s.until, err = parseTime(c.until, now); err != nil {
			return s, fmt.Errorf("--until is %q; want a time such as 2026-01-31T15:04:05Z, or -5m for five minutes ago", c.until)
		}
	}
	switch {
	case f.Changed("to") && c.to == 0:
		return s, errors.New("--to is 0; the first LSN is 1")
	case c.to > 0 && s.from.kind == placeLSN && c.to < s.from.n:
		return s, fmt.Errorf("--to %d lies before --from %d", c.to, s.from.n)
	case c.until != "" && s.from.kind == placeTime && s.until.Before(s.from.time):
		return s, fmt.Errorf("--until %s lies before --from %s", c.until, c.from)
	}
	return s, nil
}

func (c *readCommand) run(cmd *cobra.Command, log string) error {
	s, err := c.parse(cmd, time.Now())
	if err != nil {
		return usage(cmd, err)
	}
	bucket, _ := cmd.Flags().GetString("bucket")
	if dir, _ := cmd.Flags().GetString("data-dir"); bucket != "" && dir == "" {
		return s.readOffline(cmd, bucket, log)
	}
	return s.read(cmd, log)
}

// options are those of a reader.
func (s *selection) options() []wpd.ReadOption {
	opts := []wpd.ReadOption{wpd.To(s.to), wpd.Until(s.until), wpd.Limit(s.limit)}
	if s.follow {
		opts = append(opts, wpd.Follow())
	}
	if s.linearizable {
		opts = append(opts, wpd.Linearizable())
	}
	return opts
}

// read reads from a server, or from a node in this process.
func (s *selection) read(cmd *cobra.Command, name string) (err error) {
	ctx, client, done, err := connect(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	log, err := findLog(ctx, client, name)
	if err != nil {
		return err
	}
	r, err := log.Reader(ctx, s.from.position(), s.options()...)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // nothing was written
	out := newReadOutput(cmd, s)
	defer out.progress.clear()
	if s.follow {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		defer watchReaderOf(cmd.OutOrStdout(), cancel)()
	}
	err = s.copy(ctx, r, out)
	return out.end(name, r.Position(), err)
}

// copy writes all that a reader gives. It outlasts a server that goes away
// only if it follows.
func (s *selection) copy(ctx context.Context, r *wpd.Reader, out *readOutput) error {
	for {
		entries, err := r.NextBatch(ctx)
		if err == nil {
			if err = out.write(entries); err == nil && s.follow {
				err = out.w.Flush()
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		case typed[*wpd.DataLossError](err):
			if err := out.lost(err); err != nil {
				return err
			}
		case s.follow && errors.Is(err, wpd.ErrUnavailable) && ctx.Err() == nil:
			if err := out.unavailable(ctx, err); err != nil {
				return err
			}
		case ctx.Err() != nil:
			return context.Cause(ctx)
		default:
			return err
		}
	}
}
