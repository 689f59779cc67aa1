package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/wpd-io/wpd"
)

// tail is the benchmark of a follower. A part's latencies are from end to end;
// those of the appends are kept beside.
func (b *bench) tail(ctx context.Context) (*benchResult, error) {
	checks := newChecker(0)
	var appended *hdrhistogram.Histogram
	run := func(ctx context.Context, l *load, q quota) (*part, error) {
		p, seen, err := followLoad(ctx, b.logs[0], l, q, checks)
		if err != nil {
			return nil, err
		}
		appended, p.latency = p.latency, seen
		return p, nil
	}
	return b.rounds(ctx, run, func(r *benchResult) { r.addAppends(appended) })
}

// followLoad runs a load on a log, follows the log meanwhile, and returns how
// long each entry took from when it was due until the follower had it. checks
// has seen the log so far.
func followLoad(ctx context.Context, log *wpd.Log, l *load, q quota, checks *checker) (*part, *hdrhistogram.Histogram, error) {
	r, err := log.Reader(ctx, wpd.From(wpd.LSN(checks.next)), wpd.Follow())
	if err != nil {
		return nil, nil, err
	}
	defer r.Close() //nolint:errcheck // nothing was written
	f := follower{reader: r, checks: checks, seen: newLatencies(), times: l.seen}
	f.want.Store(-1)
	following, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- f.run(following) }()
	p, err := l.run(ctx, q)
	if err != nil {
		stop()
		return nil, nil, errors.Join(err, <-ended)
	}
	f.want.Store(p.entries)
	if f.got.Load() >= p.entries {
		stop()
	}
	select {
	case err = <-ended:
	case <-time.After(followWait):
		stop()
		err = errors.Join(<-ended, &exitError{exitDataLoss, fmt.Errorf("follow log %s: %d of %d acknowledged entries seen after %v",
			log.Name(), f.got.Load(), p.entries, followWait)})
	}
	return p, f.seen, err
}

// followWait is how long the follower may need for what is acknowledged.
const followWait = 30 * time.Second

// follower reads what a load appends.
type follower struct {
	reader *wpd.Reader
	checks *checker
	seen   *hdrhistogram.Histogram
	times  *timeline
	got    atomic.Int64 // entries
	want   atomic.Int64 // how many there are; -1 until that is known
}

// run follows until it got all that is wanted, or ctx ends.
func (f *follower) run(ctx context.Context) error {
	for f.got.Load() != f.want.Load() {
		entries, err := f.reader.NextBatch(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("follow: %w", err)
		}
		now := sinceStart()
		for _, e := range entries {
			p, err := f.checks.check(uint64(e.LSN), e.Data)
			if err != nil {
				return &exitError{exitDataLoss, fmt.Errorf("follow: %w", err)}
			}
			record(f.seen, now-p.due)
			f.times.add(latency{p.due, now - p.due})
		}
		f.got.Add(int64(len(entries)))
	}
	return nil
}
