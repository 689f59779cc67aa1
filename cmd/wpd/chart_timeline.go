package main

import (
	"math"
	"math/bits"
	"sync"
	"time"
)

const (
	// A timeline starts with slots of a millisecond. When it has this many of
	// them, neighbours are merged: it takes the same memory for a second as
	// for a day, and has 128 to 256 points either way.
	timelineSlotsMax = 256
	timelineSlotMin  = int64(time.Millisecond)
	// Times are counted in steps of 1/8 of a power of two above 1 µs, in
	// units of 128 ns: 12 % is less than a line of a chart is high.
	timelineSteps = 8
	timelineUnit  = 128
	// timelineBuckets reach to more than 10 minutes, as histograms do.
	timelineBuckets = 256
)

// timeline is latency over time: how long entries took, by when they were due.
// Only measured parts count; they follow each other without gaps. Safe for
// concurrent use; a nil one takes in nothing.
type timeline struct {
	mu    sync.Mutex
	on    bool
	start int64 // of the part under way, by sinceStart
	past  int64 // ns of the parts before it
	end   int64 // ns; where the latest entry stands, or the latest part ended
	width int64 // ns of a slot
	slots []timelineSlot
}

// timelineSlot counts the entries of a time, by how long they took.
type timelineSlot [timelineBuckets]uint32

func newTimeline() *timeline { return &timeline{width: timelineSlotMin} }

// resume begins a measured part.
func (t *timeline) resume(now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.on, t.start, t.past = true, now, t.end
}

// pause ends it.
func (t *timeline) pause(now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.on, t.end = false, max(t.end, t.past+now-t.start)
}

// latency is how long an entry took that was due at a time, both in ns.
type latency struct{ due, took int64 }

// add takes in entries, unless no part is being measured.
func (t *timeline) add(all ...latency) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.on {
		return
	}
	for _, l := range all {
		at := t.past + max(0, l.due-t.start)
		t.end = max(t.end, at)
		t.slot(at)[timelineBucket(l.took)]++
	}
}

// slot returns the one of a time, and makes room for it.
func (t *timeline) slot(at int64) *timelineSlot {
	for at/t.width >= timelineSlotsMax {
		t.halve()
	}
	i := int(at / t.width)
	for len(t.slots) <= i {
		t.slots = append(t.slots, timelineSlot{})
	}
	return &t.slots[i]
}

// halve merges neighbours.
func (t *timeline) halve() {
	half := (len(t.slots) + 1) / 2
	for i := range half {
		s := t.slots[2*i]
		if 2*i+1 < len(t.slots) {
			s.merge(&t.slots[2*i+1])
		}
		t.slots[i] = s
	}
	t.slots, t.width = t.slots[:half:half], 2*t.width
}

func (s *timelineSlot) merge(o *timelineSlot) {
	for i, n := range o {
		s[i] += n
	}
}

// timelineBucket is where a time in ns is counted.
func timelineBucket(ns int64) int {
	v := uint64(max(ns, 0)) / timelineUnit
	if v < timelineSteps {
		return int(v)
	}
	exp := bits.Len64(v) - 4 // v>>exp is 8 to 15
	return min(timelineBuckets-1, timelineSteps*exp+int(v>>exp))
}

// timelineMid is the middle of a bucket, in ns.
func timelineMid(bucket int) float64 {
	if bucket < timelineSteps {
		return (float64(bucket) + 0.5) * timelineUnit
	}
	exp := bucket/timelineSteps - 1
	return (float64(timelineSteps+bucket%timelineSteps) + 0.5) * math.Ldexp(timelineUnit, exp)
}

// percentile is that of a slot, in ns; NaN of an empty one.
func (s *timelineSlot) percentile(p float64) float64 {
	var total uint64
	for _, n := range s {
		total += uint64(n)
	}
	if total == 0 {
		return math.NaN()
	}
	rank, seen := uint64(math.Ceil(p/100*float64(total))), uint64(0)
	for i, n := range s {
		if seen += uint64(n); seen >= max(rank, 1) {
			return timelineMid(i)
		}
	}
	return timelineMid(timelineBuckets - 1)
}

// columns returns percentiles in ns in so many equal steps of time, or fewer if
// there are not so many slots; NaN where nothing was due. took is the time that
// they stand for.
func (t *timeline) columns(n int, percentiles ...float64) (series [][]float64, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n = max(1, min(n, len(t.slots)))
	merged := make([]timelineSlot, n)
	for i := range t.slots {
		merged[i*n/len(t.slots)].merge(&t.slots[i])
	}
	for _, p := range percentiles {
		line := make([]float64, n)
		for i := range merged {
			line[i] = merged[i].percentile(p)
		}
		series = append(series, line)
	}
	return series, time.Duration(t.end)
}
