package wal

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/wpd-io/wpd/fragment"
)

// Stats are counters since Open, and what is now.
type Stats struct {
	AppendedBatches, AppendedEntries, AppendedBytes uint64 // acknowledged
	ReadBatches, ReadBytes                          uint64
	Creates, CreatedBytes                           uint64 // objects of chains
	CacheHits, CacheMisses                          uint64
	CacheBytes                                      int64
	InFlightBytes                                   int64 // taken, not answered yet
	// Times of the batches that were acknowledged within the last second; 0:
	// there was none.
	AckP50, AckP99, AckMax time.Duration
}

// Stats returns the numbers that the metrics export, too.
func (s *Service) Stats() Stats {
	m := s.metrics
	x := Stats{
		AppendedBatches: m.batches.Load(), AppendedEntries: m.entries.Load(), AppendedBytes: m.bytes.Load(),
		ReadBatches: m.readBatches.Load(), ReadBytes: m.readBytes.Load(),
		Creates: s.segments.Creates(), CreatedBytes: s.segments.CreatedBytes(),
		InFlightBytes: max(m.inFlight.Load(), 0),
	}
	x.CacheHits, x.CacheMisses, x.CacheBytes = s.cache.Stats()
	x.AckP50, x.AckP99, x.AckMax = m.recent.quantiles(time.Since(m.start))
	return x
}

// Epoch is that of the chain that this node writes for all logs that have none
// of their own; 0 while there is none.
func (s *Service) Epoch() fragment.Epoch {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b := s.berths[0]
	if b == nil || b.chain == nil {
		return 0
	}
	return b.chain.epoch
}

// recentTimes are the times that were recorded within the last second: a ring
// of histograms, each of an eighth of it. So every watcher gets the same
// answer, however many there are and whenever they ask.
type recentTimes struct {
	mu    sync.Mutex
	slots [recentSlots]recentSlot
}

type recentSlot struct {
	turn int64 // which eighth of a second it is of, counted from the start
	h    *hdrhistogram.Histogram
}

const (
	recentSlots = 8
	recentStep  = time.Second / recentSlots
	// recentMax is the longest time that is told from longer ones.
	recentMax = 10 * time.Minute
)

// newRecentHistogram counts microseconds, to 1 %, in 24 KiB.
func newRecentHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, recentMax.Microseconds(), 2)
}

// record takes in a time; now is how long the ring has been there.
func (r *recentTimes) record(now, took time.Duration) {
	turn := int64(now / recentStep)
	r.mu.Lock()
	defer r.mu.Unlock()
	slot := &r.slots[turn%recentSlots]
	switch {
	case slot.h == nil:
		slot.h = newRecentHistogram()
	case slot.turn > turn:
		return // it came very late
	case slot.turn < turn:
		slot.h.Reset()
	}
	slot.turn = turn
	_ = slot.h.RecordValue(max(min(took, recentMax).Microseconds(), 1)) // never out of range
}

func (r *recentTimes) quantiles(now time.Duration) (p50, p99, highest time.Duration) {
	turn := int64(now / recentStep)
	all := newRecentHistogram()
	r.mu.Lock()
	for _, slot := range r.slots {
		if slot.h != nil && slot.turn > turn-recentSlots {
			all.Merge(slot.h)
		}
	}
	r.mu.Unlock()
	micros := func(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
	return micros(all.ValueAtQuantile(50)), micros(all.ValueAtQuantile(99)), micros(all.Max())
}
