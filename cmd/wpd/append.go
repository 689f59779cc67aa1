package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
)

// appendCommand is what the flags and arguments of wpd append say.
type appendCommand struct {
	log, file string // file is "-" for stdin
	format    string
	headers   []string
	create    bool
	ifTail    uint64
	producer  string
	resume    bool
	exclusive bool
	compress  string
	linger    time.Duration
	patience  time.Duration
}

const appendLong = `Append entries to a log, from FILE or stdin: one for each line, unless --format says
otherwise. Entries are sent as they come, many at a time; they stand in the log in
the order of the input, and each is durable once it is counted as appended. A
server that goes away is waited for, up to --patience, and nothing is stored twice.

Formats:
  lines   each line, without its newline. If the last line has none, its entry gets
          the header "` + newlineHeader + `: none", so that read gives back the same bytes
  length  each entry preceded by its length, 4 bytes, big-endian; as read gives it
  json    one object a line, as read gives it: headers and data (or data_b64) are
          used, lsn and time are not
  whole   all of the input is one entry

What was appended is told on stderr at the end. With -o json each acknowledged
batch is told on stdout at once, as {"first_lsn":…,"count":…}; first_lsn is 0 if the
log no longer knows where it stored a batch that had to be sent again.

With --producer the log remembers how far the producer got. If the command dies,
the same command with --resume goes on there: it passes over what is stored, after
it has compared the last stored entry with its place in the input.`

func newAppendCommand() *cobra.Command {
	var c appendCommand
	cmd := &cobra.Command{
		Use:   "append LOG [FILE]",
		Short: "Append entries to a log",
		Long:  appendLong,
		Example: `  echo hello | wpd append greetings --create
  wpd append orders orders.ndjson --producer import --resume
  wpd append photos --format whole -H name=cat.jpg < cat.jpg
  wpd append state --if-tail 17 -o json < change
  wpd read old --format json | wpd append new --format json --create`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeLogThenFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.log, c.file = args[0], "-"
			if len(args) > 1 {
				c.file = args[1]
			}
			return c.run(cmd)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.format, "format", "lines", "how to find the entries: "+oneOf(appendFormats))
	f.StringArrayVarP(&c.headers, "header", "H", nil, "a header for every entry, KEY=VALUE; may be repeated")
	f.BoolVar(&c.create, "create", false, "make the log if it is not there")
	f.Uint64Var(&c.ifTail, "if-tail", 0, "append only if the first entry gets this LSN, and the others the ones behind it; 1 asks for an empty log")
	f.StringVar(&c.producer, "producer", "", "name of the producer: what it has stored is never stored twice")
	f.BoolVar(&c.resume, "resume", false, "pass over what the producer has stored of this input already")
	f.BoolVar(&c.exclusive, "exclusive", false, "take over the log: whoever wrote before is fenced")
	f.StringVar(&c.compress, "compress", "none", "compress batches: none, s2 (fast) or zstd (small)")
	f.DurationVar(&c.linger, "linger", 0, "how long an entry may wait for company while others are in flight (default: an eighth of the time to an acknowledgement, 1ms to 10ms)")
	f.DurationVar(&c.patience, "patience", time.Minute, "give up when nothing was acknowledged for so long (0: never)")
	addConnectFlags(cmd)
	completeValues(cmd, "format", appendFormats...)
	completeValues(cmd, "compress", "none", "s2", "zstd")
	return cmd
}

func (c *appendCommand) check(cmd *cobra.Command) error {
	f := cmd.Flags()
	switch {
	case !slices.Contains(appendFormats, c.format):
		return usagef(cmd, "--format is %q; want %s", c.format, oneOf(appendFormats))
	case f.Changed("if-tail") && c.ifTail == 0:
		return usagef(cmd, "--if-tail is 0; the tail of an empty log is 1")
	case f.Changed("producer") && c.producer == "":
		return usagef(cmd, "--producer is empty; want a name")
	case c.resume && c.producer == "":
		return usagef(cmd, "--resume needs --producer: it goes on where that producer got to")
	case c.resume && c.ifTail > 0:
		return usagef(cmd, "--resume and --if-tail exclude each other: what is stored already is not at the tail any more")
	case f.Changed("linger") && c.linger < 0, c.patience < 0:
		return usagef(cmd, "--linger and --patience must not be negative")
	}
	return nil
}

// options are those of the writer.
func (c *appendCommand) options(cmd *cobra.Command) ([]wpd.WriterOption, error) {
	codec, err := wpd.ParseCodec(c.compress)
	if err != nil {
		return nil, usagef(cmd, "--compress is %q; want none, s2 or zstd", c.compress)
	}
	opts := []wpd.WriterOption{wpd.ProducerID(c.producer), wpd.Compress(codec)}
	if c.exclusive {
		opts = append(opts, wpd.Exclusive())
	}
	if cmd.Flags().Changed("linger") {
		opts = append(opts, wpd.Linger(c.linger))
	}
	return opts, nil
}

func (c *appendCommand) run(cmd *cobra.Command) (err error) {
	if err := c.check(cmd); err != nil {
		return err
	}
	headers, err := parseHeaders(c.headers)
	if err != nil {
		return usage(cmd, err)
	}
	opts, err := c.options(cmd)
	if err != nil {
		return err
	}
	in, err := c.open(cmd)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // it was read only
	ctx, client, done, err := connect(cmd)
	if err != nil {
		return err
	}
	a := newAppending(cmd, c, headers)
	defer func() {
		if a.abandoned {
			return // closing would wait for what does not come
		}
		if closeErr := done(); err == nil { // otherwise it says the same once more
			err = closeErr
		}
	}()
	limit, err := a.openWriter(ctx, client, opts)
	if err != nil {
		return err
	}
	f := feed(in, c.format, limit, headers)
	defer f.close()
	return a.run(ctx, f)
}

// openWriter opens the log and a writer, and finds out where to go on. It
// returns how many bytes of the input fit into an entry.
func (a *appending) openWriter(ctx context.Context, client *wpd.Client, opts []wpd.WriterOption) (limit int, err error) {
	log, err := a.openLog(ctx, a.cmd, client)
	if err != nil {
		return 0, err
	}
	info, err := log.Info(ctx)
	if err != nil {
		return 0, err
	}
	if limit, err = dataLimit(info.Config, a.given); err != nil {
		return 0, err
	}
	if a.writer, err = log.Writer(ctx, opts...); err != nil {
		return 0, err
	}
	if a.resume {
		a.last, err = findLastStored(ctx, log, a.producer, a.writer.Stored())
	}
	return limit, err
}

// open opens the input. Before, it tells who sits at a terminal what is
// waited for.
func (c *appendCommand) open(cmd *cobra.Command) (io.ReadCloser, error) {
	if c.file != "-" {
		f, err := os.Open(c.file)
		if err != nil {
			return nil, err
		}
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return nil, usagef(cmd, "%s is a directory; want a file", c.file)
		}
		return f, nil
	}
	in := cmd.InOrStdin()
	if isTerminalInput(in) && isTerminal(cmd.ErrOrStderr()) {
		fmt.Fprintln(cmd.ErrOrStderr(), inkFor(cmd, cmd.ErrOrStderr()).dim("reading "+c.format+" from the terminal; Ctrl-D ends"))
	}
	return io.NopCloser(in), nil
}

// openLog finds the log, or makes it.
func (c *appendCommand) openLog(ctx context.Context, cmd *cobra.Command, client *wpd.Client) (*wpd.Log, error) {
	log, err := client.Log(ctx, c.log)
	if !errors.Is(err, wpd.ErrNotFound) {
		return log, err
	}
	if !c.create {
		return nil, advise(err, "--create makes the log")
	}
	log, err = client.Create(ctx, c.log, wpd.LogConfig{})
	if errors.Is(err, wpd.ErrExists) { // made by somebody else meanwhile
		return client.Log(ctx, c.log)
	}
	if err == nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "created log %s\n", c.log)
	}
	return log, err
}
