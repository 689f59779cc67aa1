package wal

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// loadSpan is the time that the rates of appends are averaged over: they follow
// a change within about so long.
const loadSpan = 5 * time.Second

// meter is a rate that forgets: what came a loadSpan ago counts a third.
// Guarded by its owner.
type meter struct {
	at    time.Time
	bytes float64 // of the last loadSpan, about
}

func (m *meter) add(now time.Time, n int) {
	m.bytes = m.left(now) + float64(n)
	m.at = now
}

// left is what is not forgotten yet.
func (m *meter) left(now time.Time) float64 {
	if m.bytes == 0 {
		return 0
	}
	return m.bytes * math.Exp(-float64(now.Sub(m.at))/float64(loadSpan))
}

// perSec is the rate, in bytes per second.
func (m *meter) perSec(now time.Time) uint64 { return uint64(m.left(now) / loadSpan.Seconds()) }

// Report is what a node tells with each renewal of its lease.
type Report struct {
	Chains      []ChainReport // that it writes, by epoch
	Logs        uint64        // attached to them
	BytesPerSec uint64        // appended within the last seconds
}

// ChainReport tells about one chain.
type ChainReport struct {
	Epoch       fragment.Epoch
	Log         fragment.LogID // the only one that is attached to it; 0: any
	Durable     uint64         // objects 0..Durable are durable
	Logs        uint64         // attached
	BytesPerSec uint64         // appended within the last seconds
}

// reports remembers how much the chains had taken at earlier reports.
type reports struct {
	mu     sync.Mutex
	chains map[fragment.Epoch]taken
}

type taken struct {
	bytes uint64
	rate  meter
}

// Report tells about the chains that this node writes; it is cheap. Rates are
// those since earlier calls: it is to be called about every second.
func (s *Service) Report() Report {
	chains := s.liveChains()
	slices.SortFunc(chains, func(a, b *chain) int { return cmp.Compare(a.epoch, b.epoch) })
	now := time.Now()
	var all Report
	s.reports.mu.Lock()
	defer s.reports.mu.Unlock()
	before := s.reports.chains
	s.reports.chains = make(map[fragment.Epoch]taken, len(chains))
	for _, c := range chains {
		t := before[c.epoch]
		total := c.taken.Load()
		t.rate.add(now, int(total-t.bytes))
		t.bytes = total
		s.reports.chains[c.epoch] = t
		r := ChainReport{
			Epoch: c.epoch, Log: c.log, Durable: c.writer.Durable(),
			Logs: uint64(max(c.logs.Load(), 0)), BytesPerSec: t.rate.perSec(now),
		}
		all.Chains = append(all.Chains, r)
		all.Logs += r.Logs
		all.BytesPerSec += r.BytesPerSec
	}
	return all
}

// Owned is a log that this node writes.
type Owned struct {
	Log         fragment.LogID
	Name        string
	Epoch       fragment.Epoch // of its chain
	Dedicated   bool           // nothing else is on that
	BytesPerSec uint64         // appended within the last seconds
}

// Owned yields the logs that this node writes, in no order.
func (s *Service) Owned() iter.Seq[Owned] {
	return func(yield func(Owned) bool) {
		now := time.Now()
		for _, l := range s.attachedLogs() {
			l.mu.Lock()
			c := l.chain
			o := Owned{Log: l.id, Name: l.name, BytesPerSec: l.load.perSec(now)}
			l.mu.Unlock()
			if c == nil {
				continue // meanwhile
			}
			o.Epoch, o.Dedicated = c.epoch, c.log != 0
			if !yield(o) {
				return
			}
		}
	}
}
