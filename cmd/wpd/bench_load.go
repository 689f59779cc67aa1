package main

import (
	"context"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd"
)

// stream is what one producer appends to one log. Its generator owns seq and
// prev, its collector acked; whoever waited for both may read all.
type stream struct {
	writer        *wpd.Writer
	log, producer uint32

	seq   uint64 // of the payload made last
	prev  uint32 // its checksum
	acked chainPos
}

// load is the producers of a bench.
type load struct {
	producers []*producer
	streams   []*stream
	sync      bool
	interval  time.Duration // between the entries of one producer; 0: none
	times     *timeline     // of acknowledgements; may be nil
	seen      *timeline     // of the same entries at a follower; may be nil
}

// producer is one goroutine that appends to its streams in turn.
type producer struct {
	payloads *payloads
	streams  []*stream
	turn     int
	phase    time.Duration // of its timetable, against those of the others
}

// part is what was measured of one part of a round.
type part struct {
	entries int64
	bytes   int64 // of payloads
	took    time.Duration
	latency *hdrhistogram.Histogram // ns

	clientCPU, serverCPU time.Duration // of this program; of the node or server
	creates              uint64
	rss                  int64
}

// newLatencies makes a histogram of 1 µs to 10 minutes, to three digits.
func newLatencies() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(time.Microsecond), int64(10*time.Minute), 3)
}

func record(h *hdrhistogram.Histogram, ns int64) {
	_ = h.RecordValue(min(max(ns, 0), int64(10*time.Minute))) // never out of range
}

// newLoad gives each producer its streams: producers share the logs evenly, and
// have them for themselves if there are enough. open makes a stream's writer.
func newLoad(ctx context.Context, c *benchConfig, open func(ctx context.Context, log int) (*wpd.Writer, error)) (*load, error) {
	l := &load{sync: c.sync}
	if c.rate > 0 {
		l.interval = time.Duration(float64(c.producers) / c.rate * float64(time.Second))
	}
	for i := range c.producers {
		l.producers = append(l.producers, &producer{
			payloads: newPayloads(int(c.size), c.seed, i),
			phase:    l.interval * time.Duration(i) / time.Duration(c.producers),
		})
	}
	l.streams = make([]*stream, max(c.logs, c.producers))
	for i := range l.streams {
		l.streams[i] = &stream{log: uint32(i % c.logs), producer: uint32(i % c.producers)}
		p := l.producers[i%c.producers]
		p.streams = append(p.streams, l.streams[i])
	}
	if open == nil {
		return l, nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, s := range l.streams {
		g.Go(func() (err error) {
			s.writer, err = open(ctx, int(s.log))
			return err
		})
	}
	return l, g.Wait()
}

// run appends until the quota is used up and everything is acknowledged.
func (l *load) run(ctx context.Context, q quota) (*part, error) {
	parts := make([]part, len(l.producers))
	g, ctx := errgroup.WithContext(ctx)
	start := sinceStart()
	for i, p := range l.producers {
		share := q
		if q.entries > 0 {
			n := int64(len(l.producers))
			share.entries = q.entries / n
			if int64(i) < q.entries%n {
				share.entries++
			}
			if share.entries == 0 {
				continue
			}
		}
		parts[i].latency = newLatencies()
		if l.sync {
			g.Go(func() error { return p.oneByOne(ctx, share, l.times, &parts[i]) })
		} else {
			g.Go(func() error { return p.stream(ctx, share, l, &parts[i]) })
		}
	}
	err := g.Wait()
	sum := &part{took: time.Duration(sinceStart() - start), latency: newLatencies()}
	for i := range parts {
		sum.entries += parts[i].entries
		if parts[i].latency != nil {
			sum.latency.Merge(parts[i].latency)
		}
	}
	sum.bytes = sum.entries * int64(l.producers[0].payloads.size)
	return sum, err
}

// over says whether i entries use the quota up, if the next one is due at a
// time. There is at least one entry per stream.
func (p *producer) over(q quota, i, start, due int64) bool {
	return q.entries > 0 && i >= q.entries ||
		q.duration > 0 && due-start >= int64(q.duration) && i >= int64(len(p.streams))
}

func (p *producer) take() *stream {
	s := p.streams[p.turn]
	p.turn = (p.turn + 1) % len(p.streams)
	return s
}

// oneByOne waits for each entry.
func (p *producer) oneByOne(ctx context.Context, q quota, times *timeline, m *part) error {
	start := sinceStart()
	for i := int64(0); ; i++ {
		at := sinceStart()
		if p.over(q, i, start, at) {
			return nil
		}
		s := p.take()
		data := p.payloads.next(s, at)
		lsn, err := s.writer.Append(ctx, data)
		if err != nil {
			return fmt.Errorf("append entry %d of producer %d to log %d: %w", s.seq, s.producer, s.log, err)
		}
		took := sinceStart() - at
		record(m.latency, took)
		times.add(latency{at, took})
		s.ack(s.seq, lsn)
		m.entries++
	}
}

func (s *stream) ack(seq uint64, lsn wpd.LSN) {
	s.acked.seq = seq
	s.acked.sum += placeSum(seq, uint64(lsn))
}

// sample is an entry on its way.
type sample struct {
	stream  *stream
	pending *wpd.Pending // nil: there is no log
	seq     uint64
	due     int64
}

const (
	// Samples are handed over in chunks: at full speed, one by one would cost
	// as much as the appends. A chunk is handed over after 100 µs at the
	// latest, so that no acknowledgement is noticed much later than it came.
	chunkSamples = 256
	chunkAge     = int64(100 * time.Microsecond)
	chunksMax    = 4096
	chunksFree   = 64
)

// stream appends without waiting for entries, at an interval or as fast as
// there is room.
func (p *producer) stream(ctx context.Context, q quota, l *load, m *part) error {
	g, ctx := errgroup.WithContext(ctx)
	out, free := make(chan []sample, chunksMax), make(chan []sample, chunksFree)
	g.Go(func() error { return collect(ctx, out, free, l.times, m) })
	g.Go(func() error {
		defer close(out)
		return p.generate(ctx, q, l.interval, out, free)
	})
	return g.Wait()
}

// generate appends, and hands the samples to out; used chunks come back by
// free.
func (p *producer) generate(ctx context.Context, q quota, interval time.Duration, out chan<- []sample, free <-chan []sample) error {
	start := sinceStart()
	chunk := make([]sample, 0, chunkSamples)
	send := func() error {
		if len(chunk) == 0 {
			return nil
		}
		select {
		case out <- chunk:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case chunk = <-free:
		default:
			chunk = make([]sample, 0, chunkSamples)
		}
		return nil
	}
	for i := int64(0); ; i++ {
		now := sinceStart()
		due := now
		if interval > 0 {
			due = start + int64(p.phase) + i*int64(interval)
		}
		if p.over(q, i, start, due) {
			return send()
		}
		if due > now {
			if err := send(); err != nil {
				return err
			}
			if err := sleepUntil(ctx, due); err != nil {
				return err
			}
		}
		s := p.take()
		data := p.payloads.next(s, due)
		var pending *wpd.Pending
		if s.writer != nil {
			pending = s.writer.AppendAsync(ctx, wpd.Entry{Data: data})
		}
		chunk = append(chunk, sample{stream: s, pending: pending, seq: s.seq, due: due})
		if len(chunk) == cap(chunk) || due-chunk[0].due > chunkAge {
			if err := send(); err != nil {
				return err
			}
		}
	}
}

// sleepUntil sleeps until a time of sinceStart. Once ctx has ended, it returns its
// error, also if that time has passed: whoever is behind is told to stop, too.
func sleepUntil(ctx context.Context, at int64) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		left := time.Duration(at - sinceStart())
		if left <= 0 {
			return nil
		}
		sleepFor(min(left, 50*time.Millisecond))
	}
}

// collect waits for entries in the order of their appends.
func collect(ctx context.Context, in <-chan []sample, free chan<- []sample, times *timeline, m *part) error {
	var seen <-chan struct{} // entries of a batch share it
	var now int64
	latencies := make([]latency, 0, chunkSamples)
	for chunk := range in {
		m.entries += int64(len(chunk))
		latencies = latencies[:0]
		for _, s := range chunk {
			var lsn wpd.LSN
			if s.pending == nil {
				now = sinceStart()
			} else {
				if done := s.pending.Done(); done != seen {
					select {
					case <-done:
					case <-ctx.Done():
						return ctx.Err()
					}
					now, seen = sinceStart(), done
				}
				var err error
				if lsn, err = s.pending.Wait(ctx); err != nil {
					return fmt.Errorf("append entry %d of producer %d to log %d: %w", s.seq, s.stream.producer, s.stream.log, err)
				}
			}
			s.stream.ack(s.seq, lsn)
			record(m.latency, now-s.due)
			latencies = append(latencies, latency{s.due, now - s.due})
		}
		times.add(latencies...)
		clear(chunk) // of pointers to batches
		select {
		case free <- chunk[:0]:
		default:
		}
	}
	return nil
}
