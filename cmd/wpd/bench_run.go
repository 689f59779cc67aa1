package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/node/process"
)

// bench is one benchmark under way.
type bench struct {
	cfg   *benchConfig
	p     *progress
	id    string
	at    benchPlace
	own   time.Duration // processor time of this program for an entry, where it can't be told from the node's
	logs  []*wpd.Log
	times *timeline
	leave bool // the logs, since something is wrong with them
}

func openBench(ctx context.Context, c *benchConfig, p *progress) (*bench, error) {
	b := &bench{cfg: c, p: p, id: newRunID(), times: newTimeline()}
	var err error
	if c.open == nil {
		b.at, err = openEmbedded(ctx, c, b.id)
	} else {
		b.at, err = c.open(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// reopen begins anew on the node or server, and finds the logs again.
func (b *bench) reopen(ctx context.Context) error {
	if err := b.at.reopen(ctx); err != nil {
		return err
	}
	for i, l := range b.logs {
		var err error
		if b.logs[i], err = b.at.client().Log(ctx, l.Name()); err != nil {
			return err
		}
	}
	return nil
}

// discardTime bounds the removal of logs from a server.
const discardTime = 10 * time.Second

// close removes what the run leaves, also after an interrupt.
func (b *bench) close() (err error) {
	b.p.clear()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if !b.leave && b.cfg.reuse == "" {
		short, cancel := context.WithTimeout(ctx, discardTime) // the server may be gone
		defer cancel()
		err = b.at.discard(short, b.logs)
	}
	return errors.Join(err, b.at.close(ctx))
}

// createLogs makes the logs of this run.
func (b *bench) createLogs(ctx context.Context) error {
	b.p.say("making logs")
	b.logs = make([]*wpd.Log, b.cfg.logs)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i := range b.logs {
		g.Go(func() (err error) {
			b.logs[i], err = b.at.client().Create(ctx, fmt.Sprintf("bench/%s/%s/%d", b.cfg.kind, b.id, i),
				wpd.LogConfig{EntryBytesMax: entryLimit(int(b.cfg.size))})
			return err
		})
	}
	return g.Wait()
}

// entryLimit is what a log must be configured to for entries of a size; 0 is
// the default.
func entryLimit(size int) uint32 {
	if size <= 1<<20-64 {
		return 0
	}
	return 8 << 20
}

func (b *bench) newLoad(ctx context.Context) (*load, error) {
	// Writers bound what is in flight; many of them share it.
	each := int(b.cfg.inFlight) / max(b.cfg.logs, b.cfg.producers)
	l, err := newLoad(ctx, b.cfg, func(ctx context.Context, log int) (*wpd.Writer, error) {
		return b.logs[log].Writer(ctx, wpd.InFlight(max(each, 1)))
	})
	if err != nil {
		return nil, err
	}
	if b.cfg.kind == "tail" {
		l.seen = b.times
	} else {
		l.times = b.times
	}
	return l, nil
}

// loopCPU is the processor time that this program itself spends on one entry:
// making, handing over, timing. It is that of the same loop without a log.
func (b *bench) loopCPU(ctx context.Context) (time.Duration, error) {
	c := *b.cfg
	c.logs, c.producers, c.rate, c.sync = 1, 1, 0, false
	l, err := newLoad(ctx, &c, nil)
	if err != nil {
		return 0, err
	}
	if _, err := l.run(ctx, quota{duration: 10 * time.Millisecond}); err != nil {
		return 0, err
	}
	cpu := process.CPU()
	p, err := l.run(ctx, quota{duration: 100 * time.Millisecond})
	if err != nil {
		return 0, err
	}
	return (process.CPU() - cpu) / time.Duration(max(p.entries, 1)), nil
}

// measured adds to a part what the process and the node say. The middle one of
// n is profiled, if that is wanted.
func (b *bench) measured(ctx context.Context, i, n int, run func(ctx context.Context) (*part, error)) (_ *part, err error) {
	if b.cfg.profile != "" && i == n/2 {
		stop, err := startProfile(b.cfg.profile)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	b.at.resetPeak()
	before, err := b.at.usage(ctx)
	if err != nil {
		return nil, err
	}
	cpu := process.CPU()
	if i >= 0 {
		b.times.resume(sinceStart())
	}
	p, err := run(ctx)
	if i >= 0 {
		b.times.pause(sinceStart())
	}
	if err != nil {
		return nil, err
	}
	p.clientCPU = process.CPU() - cpu
	after, err := b.at.usage(ctx)
	if err != nil {
		return nil, err
	}
	p.serverCPU, p.creates, p.rss = after.cpu-before.cpu, after.creates-before.creates, after.rss
	if b.at.shared() {
		p.clientCPU = b.own * time.Duration(p.entries)
		p.serverCPU = max(0, p.serverCPU-p.clientCPU)
	}
	return p, nil
}

// startProfile writes a CPU profile until it is stopped, then a heap profile.
func startProfile(file string) (stop func() error, err error) {
	cpu, err := os.Create(file + ".cpu")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		heap, err := os.Create(file + ".heap")
		if err != nil {
			return errors.Join(err, cpu.Close())
		}
		return errors.Join(pprof.Lookup("allocs").WriteTo(heap, 0), heap.Close(), cpu.Close())
	}, nil
}

// append is the benchmark of appends.
func (b *bench) append(ctx context.Context) (*benchResult, error) {
	return b.rounds(ctx, func(ctx context.Context, l *load, q quota) (*part, error) { return l.run(ctx, q) }, nil)
}

// rounds warms up, runs the rounds, and reads everything back. after is told
// of each measured round.
func (b *bench) rounds(ctx context.Context, run func(context.Context, *load, quota) (*part, error), after func(*benchResult)) (*benchResult, error) {
	if b.at.shared() {
		var err error
		if b.own, err = b.loopCPU(ctx); err != nil {
			return nil, err
		}
	}
	if err := b.createLogs(ctx); err != nil {
		return nil, err
	}
	l, err := b.newLoad(ctx)
	if err != nil {
		return nil, err
	}
	quotas := b.cfg.quotas()
	r := newBenchResult(b.cfg)
	if b.cfg.warmup > 0 {
		b.p.say("warming up")
		if _, err := run(ctx, l, quota{duration: b.cfg.warmup}); err != nil {
			return nil, err
		}
		if err := b.warmRaw(ctx); err != nil {
			return nil, err
		}
	}
	for i, q := range quotas {
		b.p.say("round %d of %d: wpd", i+1, len(quotas))
		p, err := b.measured(ctx, i, len(quotas), func(ctx context.Context) (*part, error) { return run(ctx, l, q) })
		if err != nil {
			return nil, err
		}
		b.p.say("round %d of %d: the store itself", i+1, len(quotas))
		raw, err := b.at.rawCreates(ctx, p.bytes, b.smallFor(p.took))
		if err != nil {
			return nil, err
		}
		r.add(p, raw)
		if after != nil {
			after(r)
		}
	}
	for _, s := range l.streams {
		if err := s.writer.Close(); err != nil {
			return nil, err
		}
	}
	r.finish(b.times)
	b.verified(r, b.verify(ctx, l))
	return r, ctx.Err()
}

// smallFor is how long small creates are measured: where they are what counts,
// half as long as the measured part.
func (b *bench) smallFor(took time.Duration) time.Duration {
	d := min(took, smallTime)
	if b.cfg.sync || b.cfg.kind == "tail" {
		d = max(d, min(took/2, 2*time.Second))
	}
	return d
}

func (b *bench) warmRaw(ctx context.Context) error {
	start := time.Now()
	for time.Since(start) < b.cfg.warmup {
		if p, err := b.at.rawCreates(ctx, 0, 10*time.Millisecond); err != nil || p.missing != "" {
			return err
		}
	}
	return nil
}

// verified takes in the outcome of reading everything back. Logs that are not
// as they should be are left for who wants to find out why.
func (b *bench) verified(r *benchResult, err error) {
	r.verified(err)
	b.leave = err != nil
}

// verify reads everything back after beginning anew, and compares it with what
// was acknowledged.
func (b *bench) verify(ctx context.Context, l *load) error {
	b.p.say("reading everything back")
	if err := b.reopen(ctx); err != nil {
		return err
	}
	streams := make([][]*stream, len(b.logs))
	for _, s := range l.streams {
		streams[s.log] = append(streams[s.log], s)
	}
	for i, log := range b.logs {
		c := newChecker(uint32(i))
		if err := readAll(ctx, log, c, nil); err != nil {
			return err
		}
		if err := c.compare(streams[i]); err != nil {
			return err
		}
	}
	return nil
}

// readAll reads a log from the start to the tail. timed, if not nil, is told
// when each call for a batch began and how long it took, in ns.
func readAll(ctx context.Context, log *wpd.Log, c *checker, timed func(at, took int64), level ...wpd.ReadOption) error {
	r, err := log.Reader(ctx, wpd.Earliest, level...)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // nothing was written
	for {
		var at int64
		if timed != nil {
			at = sinceStart()
		}
		entries, err := r.NextBatch(ctx)
		if timed != nil {
			timed(at, sinceStart()-at)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read log %s: %w", log.Name(), err)
		}
		for _, e := range entries {
			if _, err := c.check(uint64(e.LSN), e.Data); err != nil {
				return &exitError{exitDataLoss, fmt.Errorf("log %s: %w", log.Name(), err)}
			}
		}
	}
}
