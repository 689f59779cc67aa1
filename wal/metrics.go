package wal

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// metrics counts what a Service does. Stats and what is exported are the same
// numbers.
type metrics struct {
	start time.Time

	batches, entries, bytes atomic.Uint64 // acknowledged, each once
	repeats                 atomic.Uint64 // batches acknowledged again
	readBatches, readBytes  atomic.Uint64
	inFlight                atomic.Int64 // bytes of batches that were taken and not answered

	waiting  atomic.Int64 // appends that were not answered, taken or not
	progress atomic.Int64 // when one was, or the first began to wait; ns since start
	recent   recentTimes

	ackSeconds prometheus.Histogram
	refused    *prometheus.CounterVec // by reason
	losses     prometheus.Counter

	brokenFeeds, walks atomic.Uint64 // of chains that other nodes write

	registerer prometheus.Registerer
	registered []prometheus.Collector
}

func newMetrics() *metrics {
	m := &metrics{
		start: time.Now(),
		ackSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "wpd_wal_ack_seconds",
			Help:    "Time from the arrival of a batch until it was acknowledged, the wait for room included. A rise means a slower store, or more bytes than it takes.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16), // 0.5 ms to 16 s
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wpd_wal_refused_batches_total",
			Help: "Batches that were not acknowledged, by reason. unavailable, moved and uncertain ones are sent again by their clients, and a rise means trouble here or in the store; of the others, that clients are wrong, late, or several.",
		}, []string{"reason"}),
		losses: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wpd_wal_lost_ranges_total",
			Help: "Ranges of acknowledged entries that readers were told are lost or damaged. Any rise is an alarm: wpd verify says what is hit.",
		}),
	}
	for _, r := range reasons { // from the start, so that the first one shows as a rise
		m.refused.WithLabelValues(r.name)
	}
	return m
}

// register exports the numbers of s; unregister takes them back.
func (m *metrics) register(r prometheus.Registerer, s *Service) error {
	if r == nil {
		return nil
	}
	m.registerer = r
	counter := func(name, help string, value func() uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "wpd_wal_" + name, Help: help}, func() float64 { return float64(value()) })
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wpd_wal_" + name, Help: help}, value)
	}
	for _, c := range []prometheus.Collector{
		m.ackSeconds, m.refused, m.losses,
		counter("appended_batches_total", "Batches acknowledged, each once. A fall of the rate means less load, or a store that hangs.", m.batches.Load),
		counter("appended_entries_total", "Entries of acknowledged batches.", m.entries.Load),
		counter("appended_bytes_total", "Bytes of acknowledged batches, as they are stored.", m.bytes.Load),
		counter("repeated_batches_total", "Batches that were stored already and were sent again. A rise means that clients lose their connections, or that their answers come too late.", m.repeats.Load),
		counter("read_batches_total", "Batches given to readers.", m.readBatches.Load),
		counter("read_bytes_total", "Bytes of batches given to readers.", m.readBytes.Load),
		gauge("in_flight_bytes", "Bytes of batches that were taken and not answered yet. Near the buffer's size, appenders wait: the store is slower than they are.",
			func() float64 { return float64(max(m.inFlight.Load(), 0)) }),
		gauge("waiting_appends", "Appends that were not answered yet, those that wait for room included.",
			func() float64 { return float64(max(m.waiting.Load(), 0)) }),
		counter("cache_hits_total", "Look-ups that found a fragment or an index in the cache.", func() uint64 { h, _, _ := s.cache.Stats(); return h }),
		counter("cache_misses_total", "Look-ups that went on to the object store. A rise means readers of what is old, or a cache that is too small.",
			func() uint64 { _, n, _ := s.cache.Stats(); return n }),
		gauge("cache_bytes", "Bytes in the cache of fragments.", func() float64 { _, _, n := s.cache.Stats(); return float64(n) }),
		gauge("prefetched_bytes", "Bytes that readers have fetched ahead, all together. At their limit, readers get only what they need next.",
			func() float64 { return float64(s.Prefetched()) }),
		gauge("attached_logs", "Logs attached to chains that this node writes. A rise means more logs in use, each of which takes memory.",
			func() float64 { n, _ := s.population(); return float64(n) }),
		gauge("chains", "Chains that this node writes: one for all logs, and one for each log in use that has its own. Each of these costs requests of its own.",
			func() float64 { n, _ := s.tally(); return float64(n) }),
		gauge("lapsed_leases", "Chains of these whose lease has lapsed: nothing is written to them until the leader renews it. Not 0 for long, while the node runs, means that it is cut off from the others.",
			func() float64 { _, n := s.tally(); return float64(n) }),
		gauge("producers", "Producers in the tables of logs in use. A rise means more writers, or named ones that nobody removes; each takes memory.",
			func() float64 { _, n := s.population(); return float64(n) }),
		gauge("followed_chains", "Chains of other nodes that this one follows for its readers.", func() float64 { return float64(s.followed()) }),
		counter("broken_feeds_total", "Feeds of other nodes' chains that broke; they are asked for again. A rise means that nodes, or the network between them, come and go.", m.brokenFeeds.Load),
		counter("walks_total", "Times that the bucket was asked what is durable of another node's chain. A rise means that readers wait while its writer can't be reached.", m.walks.Load),
		s.scrub.progress.gauge,
		counter("scrubbed_bytes_total", "Bytes read of the bucket to find damage. Its rate is at most scrub_rate; 0 for long, within a pass, is a store that does not answer.", s.scrub.bytes.Load),
		counter("scrub_passes_total", "Passes over what this node scrubs. No rise for much longer than the bytes take at scrub_rate means that the store does not answer.", func() uint64 { return s.Scrub().Passes }),
		gauge("scrub_problems", "Objects, and lost ranges of entries, that are damaged, missing or not ours, and that the last passes have found. Not 0 is an alarm: wpd status names them.",
			func() float64 { return float64(s.Scrub().ProblemsTotal) }),
		gauge("scrub_skipped", "Objects and listings that the last passes could not read, as the store did not give them though it gave others. Not 0: look at the permissions, and the log.", func() float64 { return float64(s.Scrub().Skipped) }),
		gauge("failed", "1 once this node writes nothing any more, and must be started again.",
			func() float64 {
				if s.Err() != nil {
					return 1
				}
				return 0
			}),
	} {
		if err := r.Register(c); err != nil {
			m.unregister()
			return fmt.Errorf("register metrics: %w", err)
		}
		m.registered = append(m.registered, c)
	}
	return nil
}

func (m *metrics) unregister() {
	for _, c := range m.registered {
		m.registerer.Unregister(c)
	}
	m.registered = nil
}

// population counts the logs on chains of this node, and the producers of all
// that are in use.
func (s *Service) population() (attached, producers int) {
	s.mu.RLock()
	logs := slices.Collect(maps.Values(s.logs))
	s.mu.RUnlock()
	for _, l := range logs {
		l.mu.Lock()
		if l.chain != nil && l.chain.alive() {
			attached++
		}
		producers += len(l.producers.byID)
		l.mu.Unlock()
	}
	return attached, producers
}

// tally counts the chains that take batches, and those whose lease has lapsed.
func (s *Service) tally() (chains, lapsed int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for e, c := range s.chains {
		if !c.alive() {
			continue
		}
		chains++
		if !s.cfg.Meta.LeaseHeld(e) {
			lapsed++
		}
	}
	return chains, lapsed
}

// Append implements api.Service.
func (s *Service) Append(ctx context.Context, r api.AppendRequest, done func(api.Ack, error)) error {
	return s.counted(ctx, r, done, s.append)
}

// counted counts an append.
func (s *Service) counted(ctx context.Context, r api.AppendRequest, done func(api.Ack, error), do appendFunc) error {
	m := s.metrics
	begin := time.Now()
	entries, bytes := 0, r.Batch.Len() // while it is ours
	if bytes > 0 {
		entries = r.Batch.Count()
	}
	if m.waiting.Add(1) == 1 {
		m.progress.Store(int64(begin.Sub(m.start)))
	}
	err := s.admit()
	if err != nil {
		m.answered(begin, err)
		return err
	}
	err = do(ctx, r, func(ack api.Ack, err error) {
		m.inFlight.Add(-int64(bytes))
		switch {
		case err != nil:
		case ack.Time < fragment.Micros(begin.UnixMicro()):
			m.repeats.Add(1) // it was appended before it came this time
		default:
			m.batches.Add(1)
			m.entries.Add(uint64(entries))
			m.bytes.Add(uint64(bytes))
		}
		m.answered(begin, err)
		done(ack, err)
	})
	switch {
	case err == errWouldWait: // it comes again
		m.waiting.Add(-1)
		return err
	case err != nil:
		m.answered(begin, err)
		return err
	}
	m.inFlight.Add(int64(bytes)) // or the answer was here first, and it is 0 again
	return nil
}

// answered takes in the end of an append.
func (m *metrics) answered(begin time.Time, err error) {
	now := time.Now()
	reason := reasonOf(err)
	switch reason {
	case "":
		m.ackSeconds.Observe(now.Sub(begin).Seconds())
		m.recent.record(now.Sub(m.start), now.Sub(begin))
	default:
		m.refused.WithLabelValues(reason).Inc()
	}
	switch reason {
	case reasonUnavailable, reasonMoved, reasonUncertain: // nobody is any wiser
	default:
		m.progress.Store(int64(now.Sub(m.start)))
	}
	m.waiting.Add(-1)
}

// stalled is for how long appends have been waiting without an answer to any.
func (m *metrics) stalled() time.Duration {
	if m.waiting.Load() <= 0 {
		return 0
	}
	return time.Since(m.start) - time.Duration(m.progress.Load())
}

// gave takes in what a reader gets.
func (m *metrics) gave(batches []fragment.Batch) {
	bytes := 0
	for _, b := range batches {
		bytes += b.Len()
	}
	m.readBatches.Add(uint64(len(batches)))
	m.readBytes.Add(uint64(bytes))
}
