package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spf13/cobra"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/node"
)

const (
	demoLog      = "demo/lines"
	demoQuietLog = "demo/quiet"
	demoProducer = "demo"
	// demoLines is how long a file the demo makes for itself: about a second's
	// work on a local disk.
	demoLines = 1_000_000
	// demoLinesMin leaves room for the kills.
	demoLinesMin = 10

	quietRate = 500
	quietTime = time.Second
)

// demoKills says at which share of the file, acknowledged, the ingest is
// killed, and how far it may go by then: however fast it is, it never ends
// before it is killed.
var demoKills = []struct{ at, until float64 }{{0.3, 0.5}, {0.65, 0.85}}

// demo is one under way.
type demo struct {
	cmd    *cobra.Command
	ink    ink
	p      *progress
	quiet  bool // results are printed as JSON, at the end
	result demoResult

	dir, bucket, dataDir string
	source               *source
	acks                 acks
	appends, tails       *hdrhistogram.Histogram
}

// demoResult is what a demo found, for programs.
type demoResult struct {
	OK         bool       `json:"ok"`
	Problem    string     `json:"problem,omitempty"`
	Dir        string     `json:"dir"`
	Kept       bool       `json:"kept"`
	File       string     `json:"file"`
	Lines      int64      `json:"lines"`
	Bytes      int64      `json:"bytes"`
	SHA256     string     `json:"sha256"`
	Lives      []demoLife `json:"lives"`
	Followed   int64      `json:"followed"`
	IngestS    float64    `json:"ingest_seconds"`
	MBPerS     float64    `json:"mb_per_s"`
	EntriesPS  float64    `json:"entries_per_s"`
	AppendP50  float64    `json:"append_p50_us"`
	AppendP99  float64    `json:"append_p99_us"`
	TailP50    float64    `json:"tail_p50_us"`
	TailP99    float64    `json:"tail_p99_us"`
	ReadS      float64    `json:"read_seconds"`
	ReadMBPerS float64    `json:"read_mb_per_s"`
	ReadSHA256 string     `json:"read_sha256"`
	Objects    int        `json:"objects"`
	Stored     int64      `json:"stored_bytes"`
	Extents    int        `json:"extents"`
	Verified   string     `json:"verified,omitempty"`
	Quiet      *demoQuiet `json:"quiet,omitempty"`
	Seconds    float64    `json:"seconds"`
}

type demoLife struct {
	OpenS   float64 `json:"open_seconds"`
	Resumed uint64  `json:"resumed_behind_line"`
	Acked   int64   `json:"acknowledged"` // in all lives so far
	Killed  bool    `json:"killed"`
	Seconds float64 `json:"seconds"`
}

// demoQuiet is what a log is like that is not in a hurry.
type demoQuiet struct {
	Rate      float64 `json:"rate"`
	AppendP50 float64 `json:"append_p50_us"`
	AppendP99 float64 `json:"append_p99_us"`
	TailP50   float64 `json:"tail_p50_us"`
	TailP99   float64 `json:"tail_p99_us"`
}

func newDemoCommand() *cobra.Command {
	var dir string
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo [FILE]",
		Short: "See it work: ingest a file, kill -9, resume, read back, compare, verify",
		Long: `Show what wpd promises, with a real file, in a temporary directory.

A process of its own takes the file into a log, one entry a line, and follows the
log meanwhile. It is killed with SIGKILL twice, well before its end, is started
again each time, and goes on exactly where it was. Then everything is read back:
each entry that was acknowledged must be at its LSN, none may be there twice, and
all of it must be the file, line by line. At last the bucket is verified by
itself, without a node.

Without FILE, a file of 1,000,000 lines is made of the sources of the Go
toolchain. The exit code is 0 only if all of this held.`,
		Example: `  wpd demo
  wpd demo /var/log/syslog --keep
  wpd demo -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d := &demo{cmd: cmd, ink: inkFor(cmd, cmd.OutOrStdout()), p: newProgress(cmd), quiet: wantsObjects(cmd),
				appends: newLatencies(), tails: newLatencies()}
			return d.runIn(cmd.Context(), dir, keep, args)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "make the temporary directory in this one; default: where the system has them")
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the directory there, to be looked at")
	return cmd
}

// runIn runs the demo in a directory of its own, and says how it went.
func (d *demo) runIn(ctx context.Context, dir string, keep bool, args []string) (err error) {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return err
		}
	}
	if d.dir, err = os.MkdirTemp(dir, "wpd-demo-"); err != nil {
		return err
	}
	if d.dir, err = filepath.Abs(d.dir); err != nil {
		return err
	}
	d.result.Dir, d.result.Kept = d.dir, keep
	if !keep {
		defer func() { err = errors.Join(err, os.RemoveAll(d.dir)) }()
	}
	d.bucket, d.dataDir = fileURL(filepath.Join(d.dir, "objects")), filepath.Join(d.dir, "node")
	start := time.Now()
	err = d.run(ctx, args)
	d.p.clear()
	d.result.Seconds = round(time.Since(start).Seconds())
	d.result.OK = err == nil
	if d.quiet {
		if err != nil {
			d.result.Problem = err.Error()
		}
		return errors.Join(err, printObject(d.cmd, d.result))
	}
	if err == nil {
		d.summary(keep)
	}
	return err
}

// run goes through the steps.
func (d *demo) run(ctx context.Context, args []string) error {
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return d.prepare(ctx, args) },
		d.ingest, d.readBack, d.verify,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// step says that something was done and found right.
func (d *demo) step(name, format string, args ...any) {
	d.line(d.ink.green("✓"), name, format, args...)
}

func (d *demo) line(mark, name, format string, args ...any) {
	if d.quiet {
		return
	}
	d.p.clear()
	fmt.Fprintf(d.cmd.OutOrStdout(), "%s %s %s\n", mark, d.ink.bold(fmt.Sprintf("%-9s", name)), fmt.Sprintf(format, args...))
}

// prepare finds or makes the file.
func (d *demo) prepare(ctx context.Context, args []string) (err error) {
	var path, from string
	if len(args) > 0 {
		if path, err = filepath.Abs(args[0]); err != nil {
			return err
		}
		from = args[0]
	} else {
		d.p.say("making a file of the sources of Go")
		path = filepath.Join(d.dir, "file")
		if from, err = makeSource(ctx, path, demoLines); err != nil {
			return err
		}
	}
	if d.source, err = scanSource(path, from); err != nil {
		return err
	}
	s := d.source
	if s.lines < demoLinesMin {
		return usagef(d.cmd, "%s has %s; the demo needs at least %d", path, plural(int(s.lines), "line"), demoLinesMin)
	}
	d.acks.lsn = make([]uint64, s.lines)
	r := &d.result
	r.File, r.Lines, r.Bytes, r.SHA256 = s.from, s.lines, s.bytes, hex.EncodeToString(s.sum)
	d.step("file", "%s lines, %s: %s", countText(s.lines), sizeText(s.bytes), s.from)
	return nil
}

// ingest takes the file in, in several lives.
func (d *demo) ingest(ctx context.Context) error {
	var working time.Duration
	for i := range len(demoKills) + 1 {
		var killAt, until int64 = 0, d.source.lines
		if i < len(demoKills) {
			killAt = max(1, int64(demoKills[i].at*float64(until)))
			until = max(1, int64(demoKills[i].until*float64(until)))
		}
		before := d.acks.count
		l, err := d.live(ctx, killAt, until)
		if err != nil {
			return err
		}
		if l.opened == nil || int64(l.opened.Stored) < before {
			return &exitError{exitDataLoss, fmt.Errorf("the producer resumed behind line %d, but %d were acknowledged", l.opened.Stored, before)}
		}
		working += l.took
		d.appends.Merge(l.appends)
		d.tails.Merge(l.tails)
		d.result.Followed += l.follows
		d.result.Lives = append(d.result.Lives, demoLife{round(l.openIn.Seconds()), l.opened.Stored, l.acked, l.killed, round(l.took.Seconds())})
		d.showLife(i, before, l)
	}
	r := &d.result
	r.IngestS = round(working.Seconds())
	r.MBPerS, r.EntriesPS = round(perSecond(float64(r.Bytes)/1e6, working)), round(perSecond(float64(r.Lines), working))
	r.AppendP50, r.AppendP99 = percentiles(d.appends)
	r.TailP50, r.TailP99 = percentiles(d.tails)
	return nil
}

func percentiles(h *hdrhistogram.Histogram) (p50, p99 float64) {
	return round(float64(h.ValueAtPercentile(50)) / 1e3), round(float64(h.ValueAtPercentile(99)) / 1e3)
}

func (d *demo) showLife(i int, before int64, l *life) {
	share := func(n int64) string {
		return fmt.Sprintf("%s (%.0f %%)", countText(n), 100*float64(n)/float64(d.source.lines))
	}
	if i == 0 {
		d.step("start", "a process ingests it, one entry a line, and follows the log; ready in %s", timeText(l.openIn))
	} else {
		more := int64(l.opened.Stored) - before
		d.step("restart", "ready in %s, goes on behind line %s: the acknowledged ones, and %s more that were durable",
			timeText(l.openIn), countText(l.opened.Stored), countText(more))
	}
	if l.killed {
		d.line(d.ink.red("✗"), "kill -9", "after %s, at %s lines acknowledged", timeText(l.took), share(l.acked))
		return
	}
	d.step("end", "after %s, all lines are acknowledged or were found stored; it stops by itself", timeText(l.took))
}

// readBack reads the log with a new node, and compares it with the file and
// with what was acknowledged.
func (d *demo) readBack(ctx context.Context) (err error) {
	d.p.say("reading back")
	cfg := node.Config{Bucket: d.bucket, DataDir: d.dataDir}
	limitMemory(cfg.Log)
	n, err := node.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	log, err := n.Client().Log(ctx, demoLog)
	if err != nil {
		return err
	}
	start := time.Now()
	sum, err := d.compare(ctx, log)
	if err != nil {
		return err
	}
	took := time.Since(start)
	info, err := log.Info(ctx)
	if err != nil {
		return err
	}
	r := &d.result
	r.ReadS, r.ReadMBPerS = round(took.Seconds()), round(perSecond(float64(r.Bytes)/1e6, took))
	r.ReadSHA256, r.Extents = hex.EncodeToString(sum), len(info.Extents)
	d.step("read back", "in %s (%s MB/s): each of %s acknowledged entries is at its LSN, none is there twice",
		timeText(took), digits(r.ReadMBPerS), countText(d.acks.count))
	d.step("compare", "the same, line by line: sha256 %s…", r.ReadSHA256[:16])
	return d.quietTail(ctx, n)
}

// compare reads a log, which must be the file.
func (d *demo) compare(ctx context.Context, log *wpd.Log) ([]byte, error) {
	lines, err := openLines(d.source.path)
	if err != nil {
		return nil, err
	}
	defer lines.Close() //nolint:errcheck // nothing was written
	reader, err := log.Reader(ctx, wpd.Earliest)
	if err != nil {
		return nil, err
	}
	defer reader.Close() //nolint:errcheck // nothing was written
	sum := sha256.New()
	lost := func(format string, args ...any) error {
		return &exitError{exitDataLoss, fmt.Errorf("read back: "+format, args...)}
	}
	next := uint64(1)
	for {
		entries, err := reader.NextBatch(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read back: %w", err)
		}
		for _, e := range entries {
			line, err := lines.next()
			switch {
			case errors.Is(err, io.EOF):
				return nil, lost("LSN %d holds an entry behind the last line", e.LSN)
			case err != nil:
				return nil, err
			case uint64(e.LSN) != next:
				return nil, lost("LSN %d comes after %d", e.LSN, next-1)
			case d.acks.lsn[next-1] != 0 && d.acks.lsn[next-1] != next:
				return nil, lost("line %d was acknowledged at LSN %d, but is at %d", next, d.acks.lsn[next-1], next)
			case !bytes.Equal(line, e.Data):
				return nil, lost("LSN %d does not hold line %d", e.LSN, next)
			}
			hashLine(sum, e.Data)
			next++
		}
	}
	if int64(next-1) != d.source.lines {
		return nil, lost("%d entries, but the file has %d lines", next-1, d.source.lines)
	}
	if got := sum.Sum(nil); !bytes.Equal(got, d.source.sum) {
		return nil, lost("sha256 is %x, the file's %x", got, d.source.sum)
	}
	return sum.Sum(nil), nil
}

// quietTail measures a log that is not in a hurry: at full speed, times are
// those of the queue.
func (d *demo) quietTail(ctx context.Context, n *node.Node) error {
	d.p.say("appending at %d/s", quietRate)
	log, err := n.Client().Create(ctx, demoQuietLog, wpd.LogConfig{})
	if err != nil {
		return err
	}
	c := &benchConfig{size: 1024, logs: 1, producers: 1, rate: quietRate, seed: 1}
	l, err := newLoad(ctx, c, func(ctx context.Context, _ int) (*wpd.Writer, error) { return log.Writer(ctx) })
	if err != nil {
		return err
	}
	checks := newChecker(0)
	if _, _, err := followLoad(ctx, log, l, quota{duration: quietTime / 5}, checks); err != nil { // warm up
		return err
	}
	p, tails, err := followLoad(ctx, log, l, quota{duration: quietTime}, checks)
	if err != nil {
		return err
	}
	q := &demoQuiet{Rate: quietRate}
	q.AppendP50, q.AppendP99 = percentiles(p.latency)
	q.TailP50, q.TailP99 = percentiles(tails)
	d.result.Quiet = q
	return nil
}

// verify reads the bucket alone.
func (d *demo) verify(ctx context.Context) error {
	d.p.say("verifying the bucket")
	objects, bytes, err := measureDir(filepath.Join(d.dir, "objects"))
	if err != nil {
		return err
	}
	r := &d.result
	r.Objects, r.Stored = objects, bytes
	if r.Verified, err = verifyOffline(ctx, d.bucket); err != nil {
		return err
	}
	d.step("verify", "%s", r.Verified)
	return nil
}

// measureDir counts the files below a directory, and their bytes.
func measureDir(dir string) (files int, bytes int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		files++
		bytes += info.Size()
		return nil
	})
	return files, bytes, err
}

// summary says what it was like.
func (d *demo) summary(keep bool) {
	r, w := &d.result, d.cmd.OutOrStdout()
	pair := func(p50, p99 float64) string {
		return fmt.Sprintf("p50 %s, p99 %s", microsText(p50), microsText(p99))
	}
	rows := [][2]string{
		{"ingest", fmt.Sprintf("%s MB/s, %s entries/s, durable before it is acknowledged", digits(r.MBPerS), countText(int64(r.EntriesPS)))},
		{"", fmt.Sprintf("append %s; seen by the follower %s", pair(r.AppendP50, r.AppendP99), pair(r.TailP50, r.TailP99))},
		{"at " + countText(quietRate) + "/s", fmt.Sprintf("append %s; seen by a follower %s", pair(r.Quiet.AppendP50, r.Quiet.AppendP99), pair(r.Quiet.TailP50, r.Quiet.TailP99))},
		{"stored", fmt.Sprintf("%s in %s, for %s of file", sizeText(r.Stored), plural(r.Objects, "object"), sizeText(r.Bytes))},
	}
	fmt.Fprintln(w)
	for _, row := range rows {
		fmt.Fprintf(w, "  %s %s\n", d.ink.dim(fmt.Sprintf("%-9s", row[0])), row[1])
	}
	fmt.Fprintf(w, "\n%s in %s, with %s\n", d.ink.bold(d.ink.green("All of it held")), timeText(time.Duration(r.Seconds*float64(time.Second))), plural(len(demoKills), "kill"))
	if keep {
		fmt.Fprintf(w, "\n%s is left there:\n  wpd read --bucket %s %s\n  wpd verify --bucket %s\n",
			strings.TrimSuffix(d.dir, "/"), d.bucket, demoLog, d.bucket)
	}
}
