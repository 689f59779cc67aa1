package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

const (
	// The interval of wpd stat; a node sends its counters at one in these
	// bounds.
	statIntervalMin = 100 * time.Millisecond
	statIntervalMax = time.Hour
	// statHeaderEvery is after how many lines a terminal shows the header
	// again.
	statHeaderEvery = 20
)

// statCommand is what the flags of wpd stat say.
type statCommand struct {
	interval time.Duration
	count    uint64 // lines; 0: no end
}

// statsWatcher is what wpd stat asks a node for.
type statsWatcher interface {
	WatchStats(ctx context.Context, interval time.Duration) iter.Seq2[*adminv1.Stats, error]
}

func newStatCommand() *cobra.Command {
	var c statCommand
	cmd := &cobra.Command{
		Use:   "stat",
		Short: "Watch what a node does, a line a second",
		Long: `Print a line for each interval with what a node did in it: appended entries and
megabytes (1,000,000 bytes) a second, the time until batches of the last second
were acknowledged, objects created, bytes read, how often its cache had what was
asked for; and what is now: bytes that are taken but not durable yet, streams of
writers and readers, processor and memory. "-" stands for what did not happen.

It goes on until -n lines were printed or Ctrl-C.`,
		Example: `  wpd stat
  wpd stat -i 5s -n 12
  wpd stat -o json | jq -r '[.time, .appended_mb_per_s] | @tsv'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}
	addServerFlags(cmd)
	cmd.Flags().DurationVarP(&c.interval, "interval", "i", time.Second, "time between the lines")
	cmd.Flags().Uint64VarP(&c.count, "count", "n", 0, "end after so many lines (0: never)")
	return cmd
}

func (c statCommand) run(cmd *cobra.Command) (err error) {
	if c.interval < statIntervalMin || c.interval > statIntervalMax {
		return usagef(cmd, "--interval is %v; want %v to %v", c.interval, statIntervalMin, statIntervalMax)
	}
	ctx, a, done, err := connectAdmin(cmd)
	if err != nil {
		return err
	}
	defer func() { err = untilInterrupt(cmd, joinDone(err, done)) }()
	return c.watch(ctx, cmd, a)
}

// watch prints lines until there are enough.
func (c statCommand) watch(ctx context.Context, cmd *cobra.Command, a statsWatcher) error {
	out := cmd.OutOrStdout()
	ink, again := inkFor(cmd, out), isTerminal(out)
	var last *adminv1.Stats
	lines := uint64(0)
	for s, err := range a.WatchStats(ctx, c.interval) {
		if err != nil {
			return err
		}
		if last == nil { // the first look only begins
			last = s
			continue
		}
		r := ratesOf(last, s)
		last = s
		if wantsObjects(cmd) {
			err = printObject(cmd, r)
		} else {
			err = printStatLine(out, ink, r, lines == 0 || again && lines%statHeaderEvery == 0)
		}
		if err != nil {
			return err
		}
		if lines++; lines == c.count {
			return nil
		}
	}
	return nil
}

// statColumns are those of a line; numbers stand right, as wide as they get.
var statColumns = []struct {
	title string
	width int
	value func(r rates) string
}{
	{"time", 8, func(r rates) string { return r.Time.Local().Format(time.TimeOnly) }},
	{"append/s", 9, func(r rates) string { return statRate(r.EntriesPerS) }},
	{"MB/s", 6, func(r rates) string { return statNumber(r.MBPerS) }},
	{"ack p50", 8, func(r rates) string { return statMicros(r.AckP50) }},
	{"ack p99", 8, func(r rates) string { return statMicros(r.AckP99) }},
	{"create/s", 8, func(r rates) string { return statRate(r.CreatesPerS) }},
	{"read MB/s", 9, func(r rates) string { return statNumber(r.ReadMBPerS) }},
	{"hit %", 5, func(r rates) string {
		if r.CacheHits == nil {
			return "-"
		}
		return statNumber(*r.CacheHits)
	}},
	{"in flight", 9, func(r rates) string { return statBytes(r.InFlight) }},
	{"writers", 7, func(r rates) string { return countText(r.Appenders) }},
	{"readers", 7, func(r rates) string { return countText(r.Readers) }},
	{"CPU %", 5, func(r rates) string { return statNumber(r.CPU) }},
	{"RSS", 8, func(r rates) string { return statBytes(r.RSS) }},
}

// printStatLine prints rates, under the header if it is wanted.
func printStatLine(w io.Writer, ink ink, r rates, header bool) error {
	titles, values := "", ""
	for i, c := range statColumns {
		if i > 0 {
			titles += " "
			values += " "
		}
		titles += fmt.Sprintf("%*s", c.width, c.title)
		values += fmt.Sprintf("%*s", c.width, c.value(r))
	}
	if header {
		values = ink.dim(titles) + "\n" + values
	}
	_, err := fmt.Fprintln(w, values) // in one write: what is piped on is whole lines
	return err
}

// statRate is a number of things a second; there are no thirds of an entry.
func statRate(v float64) string {
	switch {
	case v == 0:
		return "-"
	case v < 10:
		return statNumber(v)
	}
	return countText(int64(v + 0.5))
}

func statNumber(v float64) string {
	if v == 0 {
		return "-"
	}
	return digits(v)
}

func statMicros(us uint64) string {
	if us == 0 {
		return "-"
	}
	return microsText(float64(us))
}

func statBytes(n uint64) string {
	if n == 0 {
		return "-"
	}
	return sizeText(int64(n))
}
