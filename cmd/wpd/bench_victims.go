package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/wpd-io/wpd"
)

// victims are those who behave while somebody else attacks: one appends entries
// of 1 KiB at a rate, one at a time, another one reads single entries at the same
// rate. How long either took counts from when it was due.
type victims struct {
	log     *wpd.Log
	every   time.Duration
	entries *stream
	made    *payloads
	wg      sync.WaitGroup
	stop    context.CancelFunc

	mu     sync.Mutex // guards what follows
	tail   wpd.LSN    // of the last that was acknowledged; 0: none was
	now    watch
	failed error // what either could not do, at first
}

// victimWait is how long an append may take at most.
const victimWait = 30 * time.Second

// watch is what the victims have seen in a while.
type watch struct {
	appends, reads *hdrhistogram.Histogram // ns
}

func newWatch() watch { return watch{newLatencies(), newLatencies()} }

// add takes in another one.
func (w watch) add(x watch) {
	w.appends.Merge(x.appends)
	w.reads.Merge(x.reads)
}

// p99s are the times that 99 of 100 appends, and reads, took at most, in µs.
func (w watch) p99s() (appends, reads float64) {
	return float64(w.appends.ValueAtPercentile(99)) / 1e3, float64(w.reads.ValueAtPercentile(99)) / 1e3
}

// beginVictims lets them begin, and waits for the first entry.
func beginVictims(ctx context.Context, log *wpd.Log, perSecond float64) (*victims, error) {
	w, err := log.Writer(ctx)
	if err != nil {
		return nil, err
	}
	v := &victims{
		log: log, every: time.Duration(float64(time.Second) / perSecond), now: newWatch(),
		entries: &stream{writer: w}, made: newPayloads(1024, 1, 0),
	}
	if err := v.append(ctx, sinceStart()); err != nil {
		return nil, err
	}
	ctx, v.stop = context.WithCancel(ctx)
	v.wg.Go(func() { v.run(ctx, v.append) })
	v.wg.Go(func() { v.run(ctx, v.read) })
	return v, nil
}

// run does something at each time that it is due.
func (v *victims) run(ctx context.Context, do func(ctx context.Context, due int64) error) {
	for due := sinceStart(); sleepUntil(ctx, due) == nil; due += int64(v.every) {
		if err := do(ctx, due); err != nil {
			v.mu.Lock()
			if v.failed == nil && ctx.Err() == nil {
				v.failed = err
			}
			v.mu.Unlock()
			return
		}
	}
}

func (v *victims) append(ctx context.Context, due int64) error {
	s := v.entries
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), victimWait) // what was appended must not become uncertain at the end
	defer cancel()
	lsn, err := s.writer.Append(ctx, v.made.next(s, due))
	if err != nil {
		return fmt.Errorf("append entry %d: %w", s.seq, err)
	}
	took := sinceStart() - due
	s.ack(s.seq, lsn)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tail = lsn
	record(v.now.appends, took)
	return nil
}

func (v *victims) read(ctx context.Context, due int64) error {
	v.mu.Lock()
	lsn := v.tail
	v.mu.Unlock()
	for e, err := range v.log.Read(ctx, wpd.From(lsn), wpd.Limit(1)) {
		if err != nil {
			return fmt.Errorf("read LSN %d: %w", lsn, err)
		}
		if _, err := parsePayload(e.Data); err != nil || e.LSN != lsn {
			return &exitError{exitDataLoss, fmt.Errorf("read LSN %d: got LSN %d, %v", lsn, e.LSN, err)}
		}
	}
	took := sinceStart() - due
	v.mu.Lock()
	defer v.mu.Unlock()
	record(v.now.reads, took)
	return nil
}

// watched returns what they saw since the last call.
func (v *victims) watched() (watch, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := v.now
	v.now = newWatch()
	return w, v.failed
}

// end ends them, and checks that all that was acknowledged is in the log.
func (v *victims) end(ctx context.Context) error {
	v.stop()
	v.wg.Wait()
	if err := v.entries.writer.Close(); err != nil {
		return err
	}
	if v.failed != nil {
		return v.failed
	}
	c := newChecker(0)
	if err := readAll(ctx, v.log, c, nil); err != nil {
		return err
	}
	if err := c.compare([]*stream{v.entries}); err != nil {
		return &exitError{exitDataLoss, err}
	}
	return nil
}
