package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd"
)

// trickle appends to many logs in turn, at a steady rate in all, and notes how
// long each entry took from when it was due, whatever becomes of others.
type trickle struct {
	logs     []*wpd.Log
	streams  []*stream
	payloads *payloads
	every    time.Duration
	queues   []chan drop // of each log, to who waits for its entries
	stop     context.CancelFunc
	wg       sync.WaitGroup

	mu     sync.Mutex // guards what follows
	now    *stretch   // takes the entries that are due
	failed error      // the first that could not be appended
}

// drop is an entry of a trickle on its way.
type drop struct {
	pending *wpd.Pending
	seq     uint64
	due     int64
	stretch *stretch
}

// stretch is the entries that were due in a while.
type stretch struct {
	open  sync.WaitGroup // for the answers
	mu    sync.Mutex
	all   []int64 // ns, of each entry
	worst []int64 // ns, of each log
}

// queueSeconds is for how long entries may be under way before appending waits for
// them: longer than even a node that is dead makes them wait.
const queueSeconds = 10

// queueMax is how many entries of one log may be under way, where all together
// get that many in a second. 64 more are for rates that are low.
func queueMax(rate float64, logs int) int { return int(rate*queueSeconds)/logs + 64 }

// startTrickle begins to append to logs, whose writers l has.
func startTrickle(ctx context.Context, logs []*wpd.Log, l *load, rate float64) *trickle {
	t := &trickle{
		logs: logs, streams: l.streams, payloads: l.producers[0].payloads, every: time.Duration(float64(time.Second) / rate),
		queues: make([]chan drop, len(logs)), now: newStretch(len(logs)),
	}
	ctx, t.stop = context.WithCancel(ctx)
	for i := range t.queues {
		t.queues[i] = make(chan drop, queueMax(rate, len(logs)))
		t.wg.Go(func() { t.await(i) })
	}
	t.wg.Go(func() { t.run(ctx) })
	return t
}

func newStretch(logs int) *stretch { return &stretch{worst: make([]int64, logs)} }

// run appends what is due.
func (t *trickle) run(ctx context.Context) {
	defer func() {
		for _, q := range t.queues {
			close(q)
		}
	}()
	due := sinceStart()
	for i := 0; sleepUntil(ctx, due) == nil; i++ {
		at := i % len(t.streams)
		s := t.streams[at]
		t.mu.Lock()
		now := t.now
		now.open.Add(1)
		t.mu.Unlock()
		pending := s.writer.AppendAsync(context.WithoutCancel(ctx), wpd.Entry{Data: t.payloads.next(s, due)})
		t.queues[at] <- drop{pending, s.seq, due, now}
		due += int64(t.every)
	}
}

// await waits for the entries of one log.
func (t *trickle) await(i int) {
	for d := range t.queues[i] {
		lsn, err := d.pending.Wait(context.Background())
		took := sinceStart() - d.due
		if err != nil {
			t.mu.Lock()
			if t.failed == nil {
				t.failed = fmt.Errorf("append entry %d to log %s: %w", d.seq, t.logs[i].Name(), err)
			}
			t.mu.Unlock()
		} else {
			t.streams[i].ack(d.seq, lsn)
			d.stretch.mu.Lock()
			d.stretch.all = append(d.stretch.all, took)
			d.stretch.worst[i] = max(d.stretch.worst[i], took)
			d.stretch.mu.Unlock()
		}
		d.stretch.open.Done()
	}
}

// next ends a stretch: it waits until all entries are answered that were due since
// the last call, and returns them.
func (t *trickle) next() (*stretch, error) {
	t.mu.Lock()
	s := t.now
	t.now = newStretch(len(t.logs))
	t.mu.Unlock()
	s.open.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	return s, t.failed
}

// waits are how long entries took, in milliseconds.
type waits struct {
	Entries  int     `json:"entries"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	Max      float64 `json:"max_ms"`
	WorstP99 float64 `json:"worst_of_logs_p99_ms"` // of each log's slowest entry
}

// waits sums up a stretch that has ended.
func (s *stretch) waits() waits {
	slices.Sort(s.all)
	worst := slices.Sorted(slices.Values(s.worst))
	return waits{Entries: len(s.all), P50: quantile(s.all, 0.5), P99: quantile(s.all, 0.99), Max: quantile(s.all, 1), WorstP99: quantile(worst, 0.99)}
}

// quantile returns a quantile of sorted times, in milliseconds.
func quantile(sorted []int64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return round(float64(sorted[int(q*float64(len(sorted)-1))]) / 1e6)
}

// end ends the appends, and waits for those under way.
func (t *trickle) end() error {
	t.stop()
	t.wg.Wait()
	errs := []error{t.failed}
	for _, s := range t.streams {
		errs = append(errs, s.writer.Close())
	}
	return errors.Join(errs...)
}

// verify reads all logs back, and compares them with what was acknowledged. The
// appends have ended.
func (t *trickle) verify(ctx context.Context) error { return verifyStreams(ctx, t.logs, t.streams) }

// verifyAtOnce is how many logs are read back at a time: of a store that is slow,
// it takes many.
const verifyAtOnce = 64

// verifyStreams reads logs back, with one stream each, and compares them with
// what was acknowledged.
func verifyStreams(ctx context.Context, logs []*wpd.Log, streams []*stream) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(verifyAtOnce)
	for i, log := range logs {
		g.Go(func() error {
			c := newChecker(uint32(i))
			if err := readAll(ctx, log, c, nil, wpd.Linearizable()); err != nil {
				return err
			}
			return c.compare(streams[i : i+1])
		})
	}
	return g.Wait()
}

// entries is how many were acknowledged.
func (t *trickle) entries() (n int64) {
	for _, s := range t.streams {
		n += int64(s.acked.seq)
	}
	return n
}
