package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wpd-io/wpd"
)

// read is the benchmark of reads from the start.
func (b *bench) read(ctx context.Context) (*benchResult, error) {
	l, err := b.fill(ctx)
	if err != nil {
		return nil, err
	}
	if b.at.shared() {
		if b.own, err = b.checkCPU(); err != nil {
			return nil, err
		}
	}
	r := newBenchResult(b.cfg)
	var failed error
	for i := -1; i < b.cfg.rounds; i++ { // -1 is the warm-up
		b.p.say("round %d of %d: wpd", max(i, 0)+1, b.cfg.rounds)
		if err := b.reopen(ctx); err != nil {
			return nil, err
		}
		p, err := b.measured(ctx, i, b.cfg.rounds, func(ctx context.Context) (*part, error) { return b.readOnce(ctx, l) })
		if err != nil {
			if typed[*exitError](err) {
				failed = errors.Join(failed, err)
				break
			}
			return nil, err
		}
		b.p.say("round %d of %d: the store itself", max(i, 0)+1, b.cfg.rounds)
		raw, err := b.at.rawReads(ctx, b.smallFor(p.took))
		if err != nil {
			return nil, err
		}
		if i >= 0 {
			r.add(p, raw)
		}
	}
	if failed == nil {
		r.finish(b.times)
	}
	b.verified(r, failed)
	return r, ctx.Err()
}

// fill makes the logs to be read, or takes one that is there; then there is no
// load to compare with.
func (b *bench) fill(ctx context.Context) (*load, error) {
	if b.cfg.reuse != "" {
		log, err := b.at.client().Log(ctx, b.cfg.reuse)
		if err != nil {
			return nil, fmt.Errorf("log %s: %w", b.cfg.reuse, err)
		}
		b.logs = []*wpd.Log{log}
		return nil, nil
	}
	if err := b.createLogs(ctx); err != nil {
		return nil, err
	}
	l, err := b.newLoad(ctx)
	if err != nil {
		return nil, err
	}
	b.p.say("filling the log")
	var q quota
	for _, round := range b.cfg.quotas() {
		q.entries += round.entries
	}
	if _, err := l.run(ctx, q); err != nil {
		return nil, err
	}
	for _, s := range l.streams {
		if err := s.writer.Close(); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// readOnce reads all logs, one after the other.
func (b *bench) readOnce(ctx context.Context, l *load) (*part, error) {
	p := &part{latency: newLatencies()}
	start := time.Now()
	for i, log := range b.logs {
		c := newChecker(uint32(i))
		c.any = l == nil
		if err := readAll(ctx, log, c, func(at, took int64) {
			record(p.latency, took)
			b.times.add(latency{at, took})
		}); err != nil {
			return nil, err
		}
		p.entries += c.entries
		p.bytes += c.bytes
		if l == nil {
			continue
		}
		if err := c.compare(l.streams[i : i+1]); err != nil {
			return nil, &exitError{exitDataLoss, err}
		}
	}
	p.took = time.Since(start)
	return p, nil
}

// checkCPU is the processor time that this program itself spends on one entry.
func (b *bench) checkCPU() (time.Duration, error) {
	made, s, c := newPayloads(int(b.cfg.size), b.cfg.seed, 0), &stream{}, newChecker(0)
	const n = 256
	entries := make([][]byte, n)
	var cpu time.Duration
	rounds := 0
	for start := time.Now(); time.Since(start) < 50*time.Millisecond; rounds++ {
		for i := range entries {
			entries[i] = append(entries[i][:0], made.next(s, 0)...)
		}
		// A thread's clock counts in steps; so does this, but it is cheap.
		at := time.Now()
		for i, e := range entries {
			if _, err := c.check(uint64(rounds*n+i+1), e); err != nil {
				return 0, err
			}
		}
		cpu += time.Since(at)
	}
	return cpu / time.Duration(rounds*n), nil
}
