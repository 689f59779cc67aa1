package segment

import (
	"math"
	"time"
)

const (
	// floodBytesPerSecond is how fast batches must come for an open fragment to
	// be kept from an idle store until it is full. One of 8 MiB then is within
	// 50 ms; not to wait would mean hundreds of small creates a second.
	floodBytesPerSecond = 160 << 20
	// floodMemory is for how long the pace of what comes is remembered.
	floodMemory = 16 * time.Millisecond
	// floodPause is for how long nothing may come. Where all processors are
	// busy, what comes may stop for almost as long.
	floodPause = 8 * time.Millisecond
	// floodSureMost is for how long at most an open fragment is kept for what is
	// said to come, unless a create takes longer.
	floodSureMost = 50 * time.Millisecond
	// floodSurePause is floodPause where half a fragment is said to come.
	floodSurePause = 25 * time.Millisecond
	// floodLittleMost is floodSureMost where less than half a fragment is said to
	// come, and floodBeginMost as long as the flood is not older than floodBegin:
	// then more and more is.
	floodLittleMost = 5 * time.Millisecond
	floodBeginMost  = 25 * time.Millisecond
	floodBegin      = 100 * time.Millisecond
	// floodWorth is what part of a fragment is worth waiting for, if it is said to
	// come: not to wait would make a create for that alone.
	floodWorth = 32
	// Nobody waits for so many fragments once that was in vain.
	floodDoubtMin = 2
	floodDoubtMax = 256
	// floodForget is how long nothing came when the next flood is another one.
	floodForget = 250 * time.Millisecond
)

// flood judges whether an open fragment is soon full. Then it is worth waiting
// for: whoever appends so fast has many batches in flight, and few large creates
// cost less than many small ones.
//
// It is if whoever appends says so, see expect. Where nobody says anything, it
// guesses, by how fast batches come. It may be wrong: what comes may stop, as it
// does when whoever appends has all in flight that it may. Then it doubts itself
// for a number of fragments, which doubles each time that it is wrong, until it is
// right. The zero value has seen nothing. Guarded by Writer.mu.
type flood struct {
	began time.Time // when something came after a pause
	last  time.Time // when something came
	bytes float64   // that came; what came long before last counts less
	hoped bool      // the open fragment was kept waiting
	doubt int       // for how many fragments nobody waits
	wrong int       // how many those were the last time

	told  time.Time // when somebody said how much is to come
	ready int       // bytes of that which have not come
}

// expect takes in that n bytes are ready to come. Of several appenders, the last
// one counts: whoever has the most speaks the most.
func (f *flood) expect(now time.Time, n int) { f.told, f.ready = now, n }

// came takes in that n bytes have come.
func (f *flood) came(now time.Time, n int) {
	if now.Sub(f.last) > floodForget {
		f.began, f.doubt, f.wrong = now, 0, 0
	}
	f.bytes = f.pace(now)*floodMemory.Seconds() + float64(n)
	f.last = now
	f.ready -= n
}

// pace is how fast batches come, in bytes per second.
func (f *flood) pace(now time.Time) float64 {
	return f.bytes * math.Exp(-float64(now.Sub(f.last))/float64(floodMemory)) / floodMemory.Seconds()
}

// on says whether there is one, whatever comes next.
func (f *flood) on(now time.Time) bool { return f.pace(now) >= floodBytesPerSecond }

// wait says after which time it must be decided anew whether the open fragment
// is frozen; 0: it is frozen now. It takes so many bytes; latency is that of
// creates.
func (f *flood) wait(now time.Time, open *filling, full int, latency time.Duration) time.Duration {
	if now.Sub(f.told) < floodForget {
		return f.sure(now, open, full, latency)
	}
	most := max(latency.Seconds(), float64(full)/floodBytesPerSecond)
	need := float64(full-open.size()) / f.pace(now) // infinite, or not a number, if nothing came
	left := floodPause - now.Sub(f.last)
	if open.lone || f.doubt > 0 || left <= 0 || !(need <= most-now.Sub(open.since).Seconds()) {
		return 0
	}
	f.hoped = true
	return min(left, floodPause/4)
}

// sure is wait where somebody says what is to come. Who has half a fragment
// ready has more when that has come. Of who has little ready, the next may wait
// for what is kept here: that is not kept for long.
func (f *flood) sure(now time.Time, open *filling, full int, latency time.Duration) time.Duration {
	pause, most := floodPause, floodSureMost
	worth := f.ready >= full/floodWorth || open.kept && f.ready > 0
	switch half := open.size()+f.ready >= full/2; {
	case f.ready >= full/2:
		pause, most = floodSurePause, max(most, latency)
	case half && (worth || !open.lone):
	case worth && now.Sub(f.began) < floodBegin:
		most = floodBeginMost
	case worth:
		most = floodLittleMost
	default:
		return 0
	}
	open.kept = true // then for the rest as well
	left := min(pause-now.Sub(f.last), most-now.Sub(open.since))
	return max(0, min(left, floodPause/4))
}

// closed takes in that the open fragment has ended, full or not.
func (f *flood) closed(full bool) {
	switch {
	case f.doubt > 0:
		f.doubt--
	case f.hoped && full:
		f.wrong = 0
	case f.hoped:
		f.wrong = min(max(floodDoubtMin, 2*f.wrong), floodDoubtMax)
		f.doubt = f.wrong
	}
	f.hoped = false
}
