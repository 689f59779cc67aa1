package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal"
)

// benchConfig is what one benchmark is to do.
type benchConfig struct {
	kind string // append, read or tail
	name string // of the case, in the result

	bucket, dataDir string // both empty: a temporary directory

	size      byteSize      // of an entry
	bytes     byteSize      // of all measured parts; 0: no bound
	entries   int64         // likewise
	duration  time.Duration // likewise
	logs      int
	producers int
	inFlight  byteSize
	rate      float64 // entries/s of all producers; 0: as fast as it goes
	sync      bool
	warmup    time.Duration
	rounds    int
	delay     time.Duration
	reuse     string
	seed      uint64
	profile   string // files for profiles of one measured part start with this; "": none

	log wal.Config
}

func (c *benchConfig) addStoreFlags(f *pflag.FlagSet) {
	f.Bool("embedded", true, "run the node in this process (the only way so far)")
	f.StringVar(&c.bucket, "bucket", "", "URL of the object store; default: a temporary directory")
	f.StringVar(&c.dataDir, "data-dir", "", "the node's own state; default: a temporary directory")
	f.DurationVar(&c.delay, "delay", 0, "add a delay to every create in the store, the raw ones included")
	f.Uint32Var(&c.log.Window, "window", 8, "fragments in flight, and raw creates at once")
	f.DurationVar(&c.log.FlushInterval, "flush-interval", 0, "flush at most this often, to save requests")
	f.Var((*byteSize)(&c.log.CacheBytes), "cache", "bytes of the node's cache; 0: its default")
	f.Uint64Var(&c.log.CutFragments, "cut-fragments", 0, "cut a segment at so many fragments; 0: its default")
	f.Uint64Var(&c.seed, "seed", 1, "of the payloads' bytes")
}

func (c *benchConfig) addLoadFlags(f *pflag.FlagSet) {
	c.inFlight = 64 << 20
	f.Var(&c.size, "size", "bytes of an entry, at least 32")
	f.StringVar(&c.profile, "profile", "", "write the middle round's CPU profile to `FILE`.cpu, and a heap profile to FILE.heap")
	f.Var(&c.bytes, "bytes", "bytes of entries in all rounds together")
	f.Int64Var(&c.entries, "entries", 0, "entries in all rounds together; no round has fewer than one per log")
	f.DurationVar(&c.duration, "duration", 0, "time of the measured parts of all rounds together")
	f.IntVar(&c.logs, "logs", 1, "logs, taken in turn")
	f.IntVar(&c.rounds, "rounds", 5, "rounds, each of the measured part and the raw one; results are medians")
	f.DurationVar(&c.warmup, "warmup", 500*time.Millisecond, "time of either part before the first round")
}

func newBenchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure appends, reads and tails beside the object store itself",
		Long: `Measure what wpd makes of an object store, beside what the store itself can do.

A run is a number of rounds. Each round is the measured part and then the raw
limit: the same bucket driver that creates new 8 MiB objects, as many at once as
wpd does (--window), and one small object at a time. Both are warmed up first.
Times, rates and ratios are medians of the rounds; entries, bytes, seconds and
creates are sums; max_us and rss_peak_bytes are the highest of all rounds.

Every payload carries its log, its sequence and a checksum over all that and the
checksum of the one before it. After the last round the node is closed, opened
again, and everything is read back and checked: "verified" says that nothing was
missing, twice, changed or elsewhere than acknowledged.

client_cpu is making, checking and timing payloads, which is measured beforehand
without a log. server_cpu is the rest of the process: library, node and driver.
MB are 1,000,000 bytes.`,
		Example: `  wpd bench append
  wpd bench append --size 64KiB --bytes 1GiB --bucket file:///d/objects --data-dir /d/node -o json
  wpd bench append --sync --duration 10s
  wpd bench tail --rate 500 --duration 20s
  wpd bench read --bytes 1GiB
  wpd bench all -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBenchAppendCommand(), newBenchReadCommand(), newBenchTailCommand(),
		newBenchOpenCommand(), newBenchAllCommand(), newBenchFillCommand())
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
  wpd bench append --logs 1000 --entries 1000 --delay 100ms --window 8`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runAndPrint(cmd) },
	}
	c.addStoreFlags(cmd.Flags())
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
ones requested ahead; times are those of one call for a batch.`,
		Example: `  wpd bench read --bytes 1GiB
  wpd bench read --reuse bench/read/5f21… --bucket file:///d/objects --data-dir /d/node`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.runAndPrint(cmd) },
	}
	c.addStoreFlags(cmd.Flags())
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
		Example: `  wpd bench tail --rate 500 --duration 20s`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.runAndPrint(cmd) },
	}
	c.addStoreFlags(cmd.Flags())
	c.addLoadFlags(cmd.Flags())
	cmd.Flags().Float64Var(&c.rate, "rate", 500, "entries per second")
	return cmd
}

// validate fills defaults and refuses what makes no sense.
func (c *benchConfig) validate() error {
	const sizeMax = fragment.EntryBytesMax
	switch {
	case c.size < payloadHeaderBytes || c.size > sizeMax:
		return fmt.Errorf("--size is %d; want %d to %d bytes", c.size, payloadHeaderBytes, sizeMax)
	case c.logs < 1 || c.logs > 100_000:
		return fmt.Errorf("--logs is %d; want 1 to 100,000", c.logs)
	case c.producers < 1 || c.producers > 10_000:
		return fmt.Errorf("--producers is %d; want 1 to 10,000", c.producers)
	case c.rounds < 1 || c.rounds > 1000:
		return fmt.Errorf("--rounds is %d; want 1 to 1,000", c.rounds)
	case c.entries < 0 || c.duration < 0 || c.warmup < 0 || c.delay < 0:
		return errors.New("a number or a time is negative")
	case c.rate < 0 || c.rate > 10e6:
		return fmt.Errorf("--rate is %v; want 0 to 10,000,000", c.rate)
	case c.rate > 0 && c.sync:
		return errors.New("--rate and --sync exclude each other")
	case c.kind == "tail" && (c.rate == 0 || c.logs != 1):
		return errors.New("tail wants a --rate, and one log")
	case c.kind == "read" && c.duration > 0:
		return errors.New("read takes --bytes or --entries, not --duration")
	case c.inFlight < c.size:
		return fmt.Errorf("--in-flight is %v, less than one entry", &c.inFlight)
	case (c.bucket == "") != (c.dataDir == "") && !strings.HasPrefix(c.bucket, "mem:"):
		return errors.New("--bucket and --data-dir go together")
	}
	if c.bytes == 0 && c.entries == 0 && c.duration == 0 {
		switch {
		case c.kind == "tail" || c.sync || c.rate > 0:
			c.duration = 5 * time.Second
		default:
			c.bytes = 256 << 20
		}
	}
	return nil
}

// quota is when a measured part ends: at the first of these that is not 0.
type quota struct {
	entries  int64
	duration time.Duration
}

// quotas returns what each round is to do.
func (c *benchConfig) quotas() []quota {
	total := c.entries
	if c.bytes > 0 {
		n := max(1, int64(c.bytes/c.size))
		if total == 0 || n < total {
			total = n
		}
	}
	rounds := int64(c.rounds)
	if total > 0 {
		rounds = max(1, min(rounds, total/int64(c.logs)))
	}
	quotas := make([]quota, rounds)
	for i := range quotas {
		quotas[i] = quota{entries: total / rounds, duration: c.duration / time.Duration(rounds)}
		if int64(i) < total%rounds {
			quotas[i].entries++
		}
	}
	return quotas
}

// runAndPrint runs the benchmark of a command.
func (c *benchConfig) runAndPrint(cmd *cobra.Command) error {
	if embedded, _ := cmd.Flags().GetBool("embedded"); !embedded {
		return usagef(cmd, "--embedded=false: there is no daemon to talk to yet")
	}
	if err := c.validate(); err != nil {
		return usage(cmd, err)
	}
	result, err := c.run(cmd.Context(), newProgress(cmd))
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		err = printJSON(cmd.OutOrStdout(), result)
	} else {
		err = result.print(cmd.OutOrStdout(), inkFor(cmd, cmd.OutOrStdout()))
	}
	if err == nil && !result.Verified {
		err = result.verifyErr
	}
	return err
}

// run runs one benchmark.
func (c *benchConfig) run(ctx context.Context, p *progress) (_ *benchResult, err error) {
	limitMemory(c.log)
	temporary := c.bucket == ""
	if temporary {
		clean, err := c.inTemp()
		if err != nil {
			return nil, err
		}
		defer clean()
	}
	b, err := openBench(ctx, c, p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	r, err := map[string]func(context.Context) (*benchResult, error){
		"append": b.append, "read": b.read, "tail": b.tail,
	}[c.kind](ctx)
	if err == nil && !temporary {
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
