package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/node"
)

// ingest is the process that a demo kills: it appends a file's lines to a log,
// one entry each, goes on where the producer got to, follows the log meanwhile,
// and reports what it knows as it happens.
type ingest struct {
	bucket, dataDir string
	log, producer   string
	file            string
	lines           int64 // of the file
	until           int64 // wait for the end behind so many lines

	out *reporter
}

// ingestReport is one line to the demo.
type ingestReport struct {
	Opened   *ingestOpened `json:"opened,omitempty"`
	Acked    *ingestAcked  `json:"acked,omitempty"`
	Append   []byte        `json:"append,omitempty"`   // histogram of what was acknowledged since the last, encoded
	Tail     []byte        `json:"tail,omitempty"`     // and of what the follower saw
	Followed int64         `json:"followed,omitempty"` // entries so far
	Done     bool          `json:"done,omitempty"`
}

type ingestOpened struct {
	Micros int64  `json:"us"`
	Stored uint64 `json:"stored"`
}

// ingestAcked: the entries of sequences [Seq, Seq+Count) are at [LSN, LSN+Count).
type ingestAcked struct {
	Seq   uint64  `json:"seq"`
	LSN   wpd.LSN `json:"lsn"`
	Count uint64  `json:"count"`
}

// ingestInFlight is enough for any local disk, and keeps an acknowledgement
// within reach of its append.
const ingestInFlight = 8 << 20

func newDemoIngestCommand() *cobra.Command {
	var in ingest
	cmd := &cobra.Command{
		Use:    "demo-ingest FILE",
		Short:  "The process that a demo kills",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.file, in.out = args[0], newReporter(cmd.OutOrStdout())
			// An interrupt is for the demo, whose end closes our stdin.
			signal.Ignore(os.Interrupt, syscall.SIGTERM)
			ctx, cancel := context.WithCancel(context.WithoutCancel(cmd.Context()))
			defer cancel()
			go func() {
				_, _ = io.Copy(io.Discard, cmd.InOrStdin())
				cancel()
			}()
			return in.run(ctx)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.bucket, "bucket", "", "")
	f.StringVar(&in.dataDir, "data-dir", "", "")
	f.StringVar(&in.log, "log", "", "")
	f.StringVar(&in.producer, "producer", "", "")
	f.Int64Var(&in.lines, "lines", 0, "")
	f.Int64Var(&in.until, "until", 0, "")
	return cmd
}

func (in *ingest) run(ctx context.Context) (err error) {
	cfg := node.Config{Bucket: in.bucket, DataDir: in.dataDir}
	limitMemory(cfg.Log)
	start := time.Now()
	n, err := node.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	log, err := n.Client().Log(ctx, in.log)
	if errors.Is(err, wpd.ErrNotFound) {
		log, err = n.Client().Create(ctx, in.log, wpd.LogConfig{})
	}
	if err != nil {
		return err
	}
	w, err := log.Writer(ctx, wpd.ProducerID(in.producer), wpd.InFlight(ingestInFlight))
	if err != nil {
		return err
	}
	stored := int64(w.Stored())
	if err := in.out.send(ingestReport{Opened: &ingestOpened{time.Since(start).Microseconds(), w.Stored()}}); err != nil {
		return err
	}
	run := &ingestRun{ingest: in, log: log, writer: w, stored: stored, due: make([]atomic.Int64, max(0, in.lines-stored))}
	run.appends.h, run.tails.h = newLatencies(), newLatencies()
	if err := run.run(ctx); err != nil {
		return err
	}
	if in.until < in.lines { // our end comes from outside
		<-ctx.Done()
		return ctx.Err()
	}
	return errors.Join(w.Close(), in.out.send(ingestReport{Done: true}))
}

// ingestRun is one life of an ingest, from where it goes on.
type ingestRun struct {
	*ingest
	log    *wpd.Log
	writer *wpd.Writer
	stored int64
	due    []atomic.Int64 // when each line was appended, from stored on

	appends, tails latencies
	followed       atomic.Int64
}

// latencies is a histogram of what came since it was taken last.
type latencies struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram
}

func (l *latencies) record(ns ...int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range ns {
		record(l.h, v)
	}
}

// take returns the histogram, encoded, and empties it.
func (l *latencies) take() ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.h.TotalCount() == 0 {
		return nil, nil
	}
	b, err := l.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	l.h.Reset()
	return b, err
}

func (r *ingestRun) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	working, done := context.WithCancel(ctx)
	var work errgroup.Group
	pending := make(chan *wpd.Pending, 1<<16)
	work.Go(func() error { return r.acks(ctx, pending) })
	work.Go(func() error {
		defer close(pending)
		return r.append(ctx, pending)
	})
	work.Go(func() error { return r.follow(ctx) })
	g.Go(func() error {
		defer done()
		return work.Wait()
	})
	g.Go(func() error { return r.reportLatencies(working) })
	return g.Wait()
}

// append appends the lines from stored to until.
func (r *ingestRun) append(ctx context.Context, out chan<- *wpd.Pending) error {
	lines, err := openLines(r.file)
	if err != nil {
		return err
	}
	defer lines.Close() //nolint:errcheck // nothing was written
	if err := lines.skip(r.stored); err != nil {
		return err
	}
	for i := int64(0); r.stored+i < r.until; i++ {
		line, err := lines.next()
		if err != nil {
			return err
		}
		r.due[i].Store(sinceStart())
		select {
		case out <- r.writer.AppendAsync(ctx, wpd.Entry{Data: line}):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// acks reports what is acknowledged, in runs of entries that share a batch.
func (r *ingestRun) acks(ctx context.Context, in <-chan *wpd.Pending) error {
	var run ingestAcked
	var at int64 // when it was acknowledged
	var seen <-chan struct{}
	send := func() error {
		if run.Count == 0 {
			return nil
		}
		times := make([]int64, run.Count)
		for i := range times {
			times[i] = at - r.due[int64(run.Seq)+int64(i)-1-r.stored].Load()
		}
		r.appends.record(times...)
		return r.out.send(ingestReport{Acked: &run})
	}
	seq := uint64(r.stored)
	for p := range in {
		if p.Done() != seen {
			if err := send(); err != nil {
				return err
			}
			run = ingestAcked{}
			seen = p.Done()
		}
		lsn, err := p.Wait(ctx)
		if err != nil {
			return fmt.Errorf("append line %d: %w", seq+1, err)
		}
		seq++
		if run.Count > 0 && lsn != run.LSN+wpd.LSN(run.Count) {
			return fmt.Errorf("line %d of a batch is at LSN %d, the one before at %d", seq, lsn, run.LSN+wpd.LSN(run.Count)-1)
		}
		if run.Count == 0 {
			run, at = ingestAcked{Seq: seq, LSN: lsn}, sinceStart()
		}
		run.Count++
	}
	return send()
}

// follow reads what is appended as it becomes durable, and compares it with
// the file.
func (r *ingestRun) follow(ctx context.Context) error {
	if r.stored >= r.until {
		return nil
	}
	lines, err := openLines(r.file)
	if err != nil {
		return err
	}
	defer lines.Close() //nolint:errcheck // nothing was written
	if err := lines.skip(r.stored); err != nil {
		return err
	}
	// The log has one producer, so that LSNs are its sequences.
	reader, err := r.log.Reader(ctx, wpd.From(wpd.LSN(r.stored+1)), wpd.Follow(), wpd.To(wpd.LSN(r.until+1)))
	if err != nil {
		return err
	}
	defer reader.Close() //nolint:errcheck // nothing was written
	var times []int64
	for {
		entries, err := reader.NextBatch(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("follow: %w", err)
		}
		now := sinceStart()
		times = times[:0]
		for _, e := range entries {
			line, err := lines.next()
			if err != nil {
				return err
			}
			if int64(e.LSN) != lines.number || !bytes.Equal(line, e.Data) {
				return &exitError{exitDataLoss, fmt.Errorf("follow: LSN %d does not hold line %d", e.LSN, lines.number)}
			}
			times = append(times, now-r.due[lines.number-1-r.stored].Load())
		}
		r.tails.record(times...)
		r.followed.Add(int64(len(entries)))
	}
}

// reportLatencies reports the times of appends and of the follower now and
// then: what was not reported yet is lost with the process.
func (r *ingestRun) reportLatencies(working context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-tick.C:
		case <-working.Done():
			over = true
		}
		appends, err := r.appends.take()
		tails, err2 := r.tails.take()
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		if appends == nil && tails == nil {
			continue
		}
		if err := r.out.send(ingestReport{Append: appends, Tail: tails, Followed: r.followed.Load()}); err != nil {
			return err
		}
	}
	return nil
}

// reporter writes reports, each as one line in one write.
type reporter struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func newReporter(w io.Writer) *reporter { return &reporter{enc: json.NewEncoder(w)} }

func (r *reporter) send(v ingestReport) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.enc.Encode(v)
}
