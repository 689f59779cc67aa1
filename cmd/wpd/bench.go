package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func newBenchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure appends, reads and tails beside the object store itself",
		Long: `Measure what wpd makes of an object store, beside what the store itself can do.

A benchmark runs on a node in this process or, with --addr, on a server. A run
is a number of rounds. Each round is the measured part and then the raw limit:
the same bucket driver that creates new 8 MiB objects, as many at once as wpd
does (--window), and one small object at a time. Both are warmed up first.
Times, rates and ratios are medians of the rounds; entries, bytes, seconds and
creates are sums; max_us and rss_peak_bytes are the highest of all rounds. There
is no ratio where a rate was given.

Every payload carries its log, its sequence and a checksum over all that and the
checksum of the one before it. After the last round the node is closed and opened
again, or the server dialled again, and everything is read back and checked:
"verified" says that nothing was missing, twice, changed or elsewhere than
acknowledged.

client_cpu is making, checking and timing payloads, which is measured beforehand
without a log. server_cpu is the rest of the process: library, node and driver.
With --addr, client_cpu is this whole process, library included, and server_cpu,
creates and memory are the server's, as it tells them; its memory is the most
that it ever had. With several addresses, of nodes of one cluster, they are those
of all these nodes together, memory that of the one with most; logs are spread over
them, if there are as many. The server also measures the raw limit, if it may: wpd dev
does, wpd serve with --allow-bench. The logs are deleted at the end.

On a terminal, a chart shows how long entries took over the time of all rounds.
With --compare, the numbers of an earlier run stand beside. MB are 1,000,000
bytes.`,
		Example: `  wpd bench append
  wpd bench append --size 64KiB --bytes 1GiB --bucket file:///d/objects --data-dir /d/node -o json
  wpd bench append --addr 127.0.0.1:7070 --sync --duration 10s
  wpd bench append -o json >old.json; wpd bench append --compare old.json
  wpd bench tail --rate 500 --duration 20s
  wpd bench read --bytes 1GiB
  wpd bench all -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBenchAppendCommand(), newBenchReadCommand(), newBenchTailCommand(),
		newBenchOpenCommand(), newBenchFollowersCommand(), newBenchSiegeCommand(), newBenchFailoverCommand(), newBenchDrainCommand(), newBenchReadersCommand(), newBenchTakeoverCommand(), newBenchScaleCommand(),
		newBenchMetadataCommand(), newBenchAllCommand(),
		newBenchFillCommand(), newBenchServerCommand(), newBenchNodeCommand(), newBenchAttackCommand())
	return cmd
}

func newBenchAppendCommand() *cobra.Command {
	c := &benchConfig{kind: "append", name: "append", size: 1024}
	cmd := &cobra.Command{
		Use:   "append",
		Short: "Append as fast as it goes, at a rate, or one at a time",
		Long: `Append entries and measure how long each takes until it is acknowledged.

By default producers append without waiting, up to --in-flight bytes. With --rate
they keep to a timetable, and the time of an entry counts from when it was due,
however late it was appended: a stall shows in full. With --sync each producer
waits for every entry; ratio is then the median time over that of one raw create.`,
		Example: `  wpd bench append --size 64KiB --bytes 1GiB
  wpd bench append --logs 1000 --bytes 256MiB
  wpd bench append --sync --duration 10s -o json
  wpd bench append --addr 127.0.0.1:7070 --producers 4 --rate 20000 --duration 1m
  wpd bench append --logs 1000 --entries 1000 --delay 100ms --window 8`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runAndPrint(cmd) },
	}
	c.addPlaceFlags(cmd.Flags())
	c.addLoadFlags(cmd.Flags())
	cmd.Flags().IntVar(&c.producers, "producers", 1, "goroutines that append; each has its own logs as far as there are enough")
	cmd.Flags().Var(&c.inFlight, "in-flight", "bytes that wait for their acknowledgement, in all")
	cmd.Flags().Float64Var(&c.rate, "rate", 0, "entries per second, in all; 0: as fast as it goes")
	cmd.Flags().BoolVar(&c.sync, "sync", false, "one at a time: each producer waits for every entry")
	return cmd
}

func newBenchReadCommand() *cobra.Command {
	c := &benchConfig{kind: "read", name: "read", size: 1024, producers: 1}
	cmd := &cobra.Command{
		Use:   "read",
		Short: "Fill a log, then read it from the start with a cold cache",
		Long: `Fill logs with --bytes, then read them from the start, once a round, each time by a
node that was opened anew: its cache is cold, that of the operating system is
not. The raw limit is the driver reading the same objects whole, with the next
ones requested ahead; times are those of one call for a batch.

A server, with --addr, keeps its cache, so give it more bytes than that holds; it
measures no raw reads.`,
		Example: `  wpd bench read --bytes 1GiB
  wpd bench read --addr 127.0.0.1:7070 --bytes 512MiB
  wpd bench read --reuse bench/read/5f21… --bucket file:///d/objects --data-dir /d/node`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runAndPrint(cmd) },
	}
	c.addPlaceFlags(cmd.Flags())
	c.addLoadFlags(cmd.Flags())
	cmd.Flags().StringVar(&c.reuse, "reuse", "", "read this log, which an earlier bench filled, in place of filling one")
	return cmd
}

func newBenchTailCommand() *cobra.Command {
	c := &benchConfig{kind: "tail", name: "tail", size: 1024, producers: 1}
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Append at a rate, follow the log, measure from end to end",
		Long: `Append at a rate, and follow the log meanwhile. p50_us and the others are from when
an entry was due to be appended until the follower had it; append_p50_us and the
others until it was acknowledged.`,
		Example: `  wpd bench tail --rate 500 --duration 20s
  wpd bench tail --addr 127.0.0.1:7070`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runAndPrint(cmd) },
	}
	c.addPlaceFlags(cmd.Flags())
	c.addLoadFlags(cmd.Flags())
	cmd.Flags().Float64Var(&c.rate, "rate", 500, "entries per second")
	return cmd
}

// runAndPrint runs the benchmark of a command.
func (c *benchConfig) runAndPrint(cmd *cobra.Command) error {
	if err := c.place(cmd); err != nil {
		return err
	}
	if err := c.validate(); err != nil {
		return usage(cmd, err)
	}
	old, err := findBaseline(c.compare, c.key())
	if err != nil {
		return usage(cmd, err)
	}
	result, err := c.run(cmd.Context(), newProgress(cmd))
	if err != nil {
		return err
	}
	if result.RawMissing != "" && result.RawCreateP50 == 0 { // the server was asked, and would not
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: no raw limit: %s\n", cmd.CommandPath(), result.RawMissing)
	}
	err = printBench(cmd, result, old, func(w io.Writer, ink ink) error {
		if err := result.print(w, ink); err != nil {
			return err
		}
		return printChart(w, ink, result.times, chartColumns(w))
	})
	if err != nil {
		return err
	}
	if !result.Verified {
		return result.verifyErr
	}
	return nil
}

// place decides whether the benchmark runs on a server.
func (c *benchConfig) place(cmd *cobra.Command) error {
	f := cmd.Flags()
	embedded, _ := f.GetBool("embedded")
	if embedded && !f.Changed("addr") {
		if c.keep {
			return usagef(cmd, "--keep is about a server; an embedded node leaves its logs where --bucket is given")
		}
		return nil
	}
	if f.Changed("embedded") && embedded {
		return usagef(cmd, "--embedded and --addr exclude each other")
	}
	for _, name := range nodeFlags {
		if f.Changed(name) {
			return usagef(cmd, "--%s is for an embedded node; the server at --addr has its own", name)
		}
	}
	t, err := targetOf(cmd)
	if err != nil {
		return err
	}
	c.addr, c.open = t.addrs, t.openBench
	return nil
}

// printBench prints a result, beside an earlier one if there is one.
func printBench(cmd *cobra.Command, result any, old json.RawMessage, table func(w io.Writer, ink ink) error) error {
	if old == nil {
		return printResult(cmd, result, table)
	}
	raw, err := json.Marshal(result)
	if err != nil {
		return err
	}
	compared, err := compareResults(old, raw)
	if err != nil {
		return err
	}
	return printResult(cmd, withComparison(raw, compared), func(w io.Writer, ink ink) error {
		if err := table(w, ink); err != nil {
			return err
		}
		return printComparison(w, ink, "compared with the earlier run", compared)
	})
}

// run runs one benchmark.
func (c *benchConfig) run(ctx context.Context, p *progress) (_ *benchResult, err error) {
	temporary := false
	if c.open == nil {
		limitMemory(c.log)
		if temporary = c.bucket == ""; temporary {
			clean, err := c.inTemp()
			if err != nil {
				return nil, err
			}
			defer clean()
		}
	}
	b, err := openBench(ctx, c, p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	r, err := map[string]func(context.Context) (*benchResult, error){
		"append": b.append, "read": b.read, "tail": b.tail,
	}[c.kind](ctx)
	if err == nil && !temporary && (c.open == nil || c.keep || b.leave || c.reuse != "") {
		r.Log = b.logs[0].Name()
	}
	return r, err
}

// inTemp makes a temporary directory for bucket and data.
func (c *benchConfig) inTemp() (clean func(), err error) {
	dir, err := os.MkdirTemp("", "wpd-bench-")
	if err != nil {
		return nil, err
	}
	c.bucket, c.dataDir = fileURL(filepath.Join(dir, "objects")), filepath.Join(dir, "node")
	return func() { os.RemoveAll(dir) }, nil //nolint:errcheck // a leftover in a temporary place
}

// fileURL names a directory as a bucket.
func fileURL(dir string) string { return "file://" + filepath.ToSlash(dir) }

// newRunID tells one run's logs and objects from another's.
func newRunID() string {
	var id [6]byte
	rand.Read(id[:]) //nolint:errcheck // never fails
	return hex.EncodeToString(id[:])
}
