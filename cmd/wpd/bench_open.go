package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/node"
)

// openBenchmark measures how long a node takes to open after a crash.
type openBenchmark struct {
	benchConfig
	fragments int64
}

// openResult is what it found.
type openResult struct {
	Case     string    `json:"case"`
	Bytes    int64     `json:"bytes"` // of entries in the chain that the crash left
	Entries  int64     `json:"entries"`
	Creates  uint64    `json:"creates"` // objects of that chain
	DelayMs  float64   `json:"delay_ms"`
	Seconds  float64   `json:"seconds"` // median
	MaxS     float64   `json:"max_seconds"`
	Rounds   []float64 `json:"rounds"`
	CleanS   float64   `json:"clean_seconds"` // the same node, after a clean close; median
	Verified bool      `json:"verified"`
}

func newBenchOpenCommand() *cobra.Command {
	b := &openBenchmark{benchConfig: benchConfig{kind: "open", name: "open", size: 1024, logs: 1, producers: 1}}
	cmd := &cobra.Command{
		Use:   "open",
		Short: "Crash a node, then measure how long it takes to open",
		Long: `Fill a chain in a process of its own, kill it with SIGKILL, and measure how long it
takes until a node on the same data has opened: what the crash left is found and
sealed first. Then the tail must be behind all that was acknowledged.

With --fragments the chain has that many objects of one entry each, in one
segment, in place of --bytes. --delay is added to every request of the opening
node, reads included, but not while the chain is filled.`,
		Example: `  wpd bench open --bytes 1GiB
  wpd bench open --fragments 4096 --delay 30ms`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.fragments > 0 {
				b.entries, b.bytes, b.sync = b.fragments, 0, true
				b.log.CutFragments = 2 * uint64(b.fragments)
			}
			if err := b.validate(); err != nil {
				return usage(cmd, err)
			}
			old, err := findBaseline(b.compare, benchKey{Case: b.name, DelayMs: b.delay.Seconds() * 1e3})
			if err != nil {
				return usage(cmd, err)
			}
			r, err := b.run(cmd.Context(), newProgress(cmd))
			if err != nil {
				return err
			}
			return printBench(cmd, r, old, r.print)
		},
	}
	b.addStoreFlags(cmd.Flags())
	addCompareFlag(cmd.Flags(), &b.compare)
	b.inFlight = 64 << 20
	f := cmd.Flags()
	f.Var(&b.size, "size", "bytes of an entry, at least 32")
	f.Var(&b.bytes, "bytes", "bytes of entries in the chain")
	f.Int64Var(&b.fragments, "fragments", 0, "objects in the chain, of one entry each, in place of --bytes")
	f.IntVar(&b.rounds, "rounds", 3, "crashes")
	return cmd
}

func (b *openBenchmark) run(ctx context.Context, p *progress) (*openResult, error) {
	limitMemory(b.log)
	defer p.clear()
	if b.bucket == "" {
		clean, err := b.inTemp()
		if err != nil {
			return nil, err
		}
		defer clean()
	}
	r := &openResult{Case: b.name, DelayMs: b.delay.Seconds() * 1e3}
	var clean []float64
	for i := range b.rounds {
		p.say("round %d of %d: filling a chain, to be killed", i+1, b.rounds)
		f, err := b.crash(ctx)
		if err != nil {
			return nil, err
		}
		r.Entries, r.Bytes, r.Creates = f.entries, f.entries*int64(b.size), f.creates
		p.say("round %d of %d: opening", i+1, b.rounds)
		for _, times := range []*[]float64{&r.Rounds, &clean} {
			took, err := b.open(ctx, f)
			if err != nil {
				return nil, err
			}
			*times = append(*times, round(took.Seconds()))
			r.MaxS = max(r.MaxS, round(r.Rounds[len(r.Rounds)-1]))
		}
	}
	r.Seconds, r.CleanS, r.Verified = median(r.Rounds), median(clean), true
	return r, nil
}

// filled is what a crashed process had been told.
type filled struct {
	log     string
	entries int64
	creates uint64
}

// crash fills a chain in a process of its own, which it kills.
func (b *openBenchmark) crash(ctx context.Context) (*filled, error) {
	c, err := startChild(ctx, "bench", "fill", "--bucket", b.bucket, "--data-dir", b.dataDir,
		"--size", b.size.String(), "--bytes", b.bytes.String(), "--entries", strconv.FormatInt(b.entries, 10),
		"--sync="+strconv.FormatBool(b.sync), "--cut-fragments", strconv.FormatUint(b.log.CutFragments, 10),
		"--window", strconv.FormatUint(uint64(b.log.Window), 10))
	if err != nil {
		return nil, err
	}
	var f filled
	line, _ := c.out.ReadString('\n')
	_, scanErr := fmt.Sscanf(line, filledFormat, &f.log, &f.entries, &f.creates)
	c.kill()
	_ = c.wait() // killed, or it has complained
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if scanErr != nil {
		return nil, fmt.Errorf("the filling process ended: %s", c.complaints())
	}
	return &f, nil
}

// open opens a node and closes it again.
func (b *openBenchmark) open(ctx context.Context, f *filled) (_ time.Duration, err error) {
	bucket, err := blobstore.Open(ctx, b.bucket, blobstore.Options{})
	if err != nil {
		return 0, err
	}
	if b.delay > 0 {
		bucket = newSlowStore(bucket, b.delay, b.delay)
	}
	defer func() { err = errors.Join(err, bucket.Close()) }()
	start := time.Now()
	n, err := node.Open(ctx, node.Config{Store: bucket, DataDir: b.dataDir, Log: b.log})
	if err != nil {
		return 0, err
	}
	took := time.Since(start)
	defer func() { err = errors.Join(err, n.Close()) }()
	log, err := n.Client().Log(ctx, f.log)
	if err != nil {
		return 0, err
	}
	tail, err := log.Tail(ctx)
	if err == nil && int64(tail) < f.entries+1 {
		err = &exitError{exitDataLoss, fmt.Errorf("the tail is %d, but %d entries were acknowledged before the crash", tail, f.entries)}
	}
	return took, err
}

func (r *openResult) print(w io.Writer, ink ink) error {
	_, err := fmt.Fprintf(w, "%s  after kill -9 with %s in %s\n  %s %s  %s\n  %s %s\n",
		ink.bold(r.Case), sizeText(r.Bytes), plural(int(r.Creates), "object"),
		ink.dim("time     "), ink.bold(timeText(seconds(r.Seconds))), ink.dim("rounds: "+spread(r.Rounds)+" s"),
		ink.dim("clean    "), timeText(seconds(r.CleanS)))
	return err
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// filledFormat is what a filling process says when all is acknowledged.
const filledFormat = "filled %s %d %d\n"

// newBenchFillCommand is the process that bench open kills.
func newBenchFillCommand() *cobra.Command {
	c := &benchConfig{kind: "fill", name: "fill", logs: 1, producers: 1, rounds: 1}
	cmd := &cobra.Command{
		Use:    "fill",
		Short:  "The process that bench open kills",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := untilClosed(cmd.Context(), cmd.InOrStdin())
			defer cancel()
			return c.fillAndWait(ctx, cmd.OutOrStdout())
		},
	}
	c.addStoreFlags(cmd.Flags())
	c.addLoadFlags(cmd.Flags())
	cmd.Flags().BoolVar(&c.sync, "sync", false, "one at a time")
	return cmd
}

// fillAndWait fills a log and waits to be killed.
func (c *benchConfig) fillAndWait(ctx context.Context, w io.Writer) (err error) {
	c.rounds = 1
	limitMemory(c.log)
	b, err := openBench(ctx, c, &progress{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.createLogs(ctx); err != nil {
		return err
	}
	l, err := b.newLoad(ctx)
	if err != nil {
		return err
	}
	p, err := l.run(ctx, c.quotas()[0])
	if err != nil {
		return err
	}
	used, err := b.at.usage(ctx)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, filledFormat, b.logs[0].Name(), p.entries, used.creates); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
