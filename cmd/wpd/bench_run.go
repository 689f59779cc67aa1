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
	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/node"
)

// bench is one benchmark under way.
type bench struct {
	cfg    *benchConfig
	p      *progress
	id     string
	bucket *blobstore.Bucket
	raw    *rawLimit
	node   *node.Node // nil while none is open
	logs   []*wpd.Log
}

func openBench(ctx context.Context, c *benchConfig, p *progress) (*bench, error) {
	bucket, err := blobstore.Open(ctx, c.bucket, blobstore.Options{})
	if err != nil {
		return nil, err
	}
	if c.delay > 0 {
		bucket = newSlowStore(bucket, c.delay, 0)
	}
	b := &bench{cfg: c, p: p, id: newRunID(), bucket: bucket}
	small := smallBytes
	if c.sync || c.kind == "tail" {
		small = min(smallBytes-1024+int(c.size), rawObjectBytes)
	}
	b.raw = newRawLimit(bucket, "bench/"+b.id+"/", int(max(c.log.Window, 1)), small, c.seed)
	if err := b.openNode(ctx); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bench) openNode(ctx context.Context) (err error) {
	b.node, err = node.Open(ctx, node.Config{Store: b.bucket, DataDir: b.cfg.dataDir, Log: b.cfg.log})
	return err
}

func (b *bench) closeNode() error {
	n := b.node
	b.node = nil
	if n == nil {
		return nil
	}
	return n.Close()
}

// reopenNode closes the node and opens it again, so that nothing is in its
// memory, and finds the logs again.
func (b *bench) reopenNode(ctx context.Context) error {
	if b.cfg.dataDir == "" {
		return nil // in memory: it would be another one
	}
	if err := b.closeNode(); err != nil {
		return err
	}
	if err := b.openNode(ctx); err != nil {
		return err
	}
	for i, l := range b.logs {
		var err error
		if b.logs[i], err = b.node.Client().Log(ctx, l.Name()); err != nil {
			return err
		}
	}
	return nil
}

// close removes the raw objects, also after an interrupt.
func (b *bench) close() error {
	b.p.clear()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(b.closeNode(), b.raw.remove(ctx), b.bucket.Close())
}

// createLogs makes the logs of this run.
func (b *bench) createLogs(ctx context.Context) error {
	b.p.say("making logs")
	b.logs = make([]*wpd.Log, b.cfg.logs)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i := range b.logs {
		g.Go(func() (err error) {
			b.logs[i], err = b.node.Client().Create(ctx, fmt.Sprintf("bench/%s/%s/%d", b.cfg.kind, b.id, i),
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
	return newLoad(ctx, b.cfg, func(ctx context.Context, log int) (*wpd.Writer, error) {
		return b.logs[log].Writer(ctx, wpd.InFlight(max(each, 1)))
	})
}

// clientCPU is the processor time that this program itself spends on one entry:
// making, handing over, timing. It is that of the same loop without a log.
func (b *bench) clientCPU(ctx context.Context) (time.Duration, error) {
	c := *b.cfg
	c.logs, c.producers, c.rate, c.sync = 1, 1, 0, false
	l, err := newLoad(ctx, &c, nil)
	if err != nil {
		return 0, err
	}
	if _, err := l.run(ctx, quota{duration: 10 * time.Millisecond}); err != nil {
		return 0, err
	}
	cpu := processCPU()
	p, err := l.run(ctx, quota{duration: 100 * time.Millisecond})
	if err != nil {
		return 0, err
	}
	return (processCPU() - cpu) / time.Duration(max(p.entries, 1)), nil
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
	resetPeakRSS()
	creates, cpu := b.node.Logs().Creates(), processCPU()
	p, err := run(ctx)
	if err != nil {
		return nil, err
	}
	p.cpu = processCPU() - cpu
	p.creates = b.node.Logs().Creates() - creates
	p.rss = peakRSS()
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
	client, err := b.clientCPU(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.createLogs(ctx); err != nil {
		return nil, err
	}
	l, err := b.newLoad(ctx)
	if err != nil {
		return nil, err
	}
	quotas := b.cfg.quotas()
	r := newBenchResult(b.cfg, client)
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
		raw, err := b.raw.measure(ctx, p.bytes, b.smallFor(p.took))
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
	r.finish()
	r.verified(b.verify(ctx, l))
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
		if _, err := b.raw.measure(ctx, 0, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// verify reads everything back by a node that was opened anew, and compares it
// with what was acknowledged.
func (b *bench) verify(ctx context.Context, l *load) error {
	b.p.say("reading everything back")
	if err := b.reopenNode(ctx); err != nil {
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
// how long each call for a batch took.
func readAll(ctx context.Context, log *wpd.Log, c *checker, timed func(time.Duration)) error {
	r, err := log.Reader(ctx, wpd.Earliest)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // nothing was written
	for {
		var at time.Time
		if timed != nil {
			at = time.Now()
		}
		entries, err := r.NextBatch(ctx)
		if timed != nil {
			timed(time.Since(at))
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
