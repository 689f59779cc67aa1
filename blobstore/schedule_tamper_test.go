package blobstore_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/wpd-io/wpd/testcluster/tamper"
)

// schedule is what goes wrong around one key, and who creates it. All of it
// follows from the seed; which writer meets which fault does not.
type schedule struct {
	seed           uint64
	timeout        time.Duration // of a first attempt: the other times are drawn in terms of it
	key            string
	creates, reads []tamper.Fault // one for each of the first requests of the kind
	writers        []writer       // one, or two at the same time
	sealed         bool           // by one more writer, when these have ended and what was late has landed
}

// writer makes one create.
type writer struct {
	body     []byte
	delay    time.Duration // before it
	deadline time.Duration
	twin     bool // there is another one with the same bytes
}

// newSchedule draws a schedule.
func newSchedule(seed uint64, timeout time.Duration) *schedule {
	r := rand.New(rand.NewPCG(seed, 0))
	s := &schedule{seed: seed, timeout: timeout, key: fmt.Sprintf("s/%016x", seed)}
	for range 1 + r.IntN(5) {
		s.creates = append(s.creates, s.fault(r, createFaults))
	}
	for range r.IntN(4) {
		s.reads = append(s.reads, s.fault(r, readFaults))
	}
	shape := drawShape(r)
	for i := range 1 + r.IntN(2) {
		if r.IntN(4) == 0 {
			shape = drawShape(r) // mostly they look alike
		}
		s.writers = append(s.writers, writer{
			body: shape.body(fmt.Sprintf("%s/%d", s.key, i)), delay: s.upTo(r, 1), deadline: s.deadline(r),
		})
	}
	s.writers[0].delay = 0
	if len(s.writers) == 2 && r.IntN(8) == 0 {
		s.writers[1].body = s.writers[0].body
		s.writers[0].twin, s.writers[1].twin = true, true
	}
	s.sealed = r.IntN(2) == 0
	return s
}

// seal is the writer that nobody disturbs.
func (s *schedule) seal() writer {
	return writer{body: []byte("a seal of " + s.key), deadline: time.Minute}
}

// createFaults and readFaults are what can happen to a request, as often as it
// stands there.
var (
	createFaults = named(tamper.Create, []tamper.Fault{
		{Do: tamper.Pass}, {Do: tamper.Pass},
		{Do: tamper.Drop}, {Do: tamper.Drop},
		{Do: tamper.Lie, Status: 412}, {Do: tamper.Lie, Status: 412}, {Do: tamper.Lie, Status: 409},
		{Do: tamper.Lie, Status: 500}, {Do: tamper.Lie, Status: 503},
		{Do: tamper.Refuse, Status: 500}, {Do: tamper.Refuse, Status: 503}, {Do: tamper.Refuse, Status: 503, RetryAfter: "0"},
		{Do: tamper.Refuse, Status: 409}, {Do: tamper.Refuse, Status: 412},
		{Do: tamper.Reset}, {Do: tamper.Cut}, {Do: tamper.Hang},
		{Do: tamper.Slow}, {Do: tamper.Slow},
		{Do: tamper.Late}, {Do: tamper.Late}, {Do: tamper.Late},
	})
	readFaults = named(tamper.Read, []tamper.Fault{
		{Do: tamper.Pass}, {Do: tamper.Pass},
		{Do: tamper.Drop}, {Do: tamper.Cut}, {Do: tamper.Tear}, {Do: tamper.Short}, {Do: tamper.Slow},
		{Do: tamper.Refuse, Status: 500}, {Do: tamper.Refuse, Status: 503}, {Do: tamper.Refuse, Status: 403},
		{Do: tamper.Refuse, Status: 404, Code: "NoSuchKey"},
	})
)

// named makes faults of a kind of requests, and counted as such.
func named(kind tamper.Kind, faults []tamper.Fault) []tamper.Fault {
	for i := range faults {
		f := &faults[i]
		f.Kind, f.Name = kind, fmt.Sprintf("%s: %s", kind, f.Do)
		if f.Status != 0 {
			f.Name += fmt.Sprintf(" %d", f.Status)
		}
	}
	return faults
}

// fault draws what happens to one request for the schedule's key.
func (s *schedule) fault(r *rand.Rand, from []tamper.Fault) tamper.Fault {
	f := from[r.IntN(len(from))]
	f.Key, f.Count = s.key, 1
	if f.Do == tamper.Slow || f.Do == tamper.Late { // from before the attempt's deadline to after the second one's
		f.Delay = s.timeout/4 + s.upTo(r, 4)
	}
	return f
}

// shape is how a body looks, but for what tells it from others.
type shape struct {
	bytes int
	last  bool // that stands at its end, not at its start
}

func drawShape(r *rand.Rand) shape {
	return shape{bytes: []int{1, 64, 65, 128, 5000}[r.IntN(5)], last: r.IntN(2) == 0}
}

func (s shape) body(nonce string) []byte {
	filling := strings.Repeat(".", max(s.bytes-len(nonce), 0))
	if s.last {
		return []byte(filling + nonce)
	}
	return []byte(nonce + filling)
}

// deadline draws how long a writer tries: seldom less than an attempt, mostly
// until it knows.
func (s *schedule) deadline(r *rand.Rand) time.Duration {
	switch r.IntN(8) {
	case 0:
		return s.timeout/6 + s.upTo(r, 1)
	case 1, 2:
		return s.timeout + s.upTo(r, 4)
	}
	return time.Minute
}

// upTo draws a time of up to so many timeouts.
func (s *schedule) upTo(r *rand.Rand, timeouts int) time.Duration {
	return time.Duration(r.Float64() * float64(timeouts) * float64(s.timeout))
}

// String tells what was to happen.
func (s *schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "schedule %d, key %s, timeout %v", s.seed, s.key, s.timeout)
	for _, f := range append(append([]tamper.Fault(nil), s.creates...), s.reads...) {
		fmt.Fprintf(&b, "\n  %s %v", f.Name, f.Delay)
	}
	for i, w := range s.writers {
		fmt.Fprintf(&b, "\n  writer %d: %d bytes, after %v, for %v, twin %v", i, len(w.body), w.delay, w.deadline, w.twin)
	}
	return b.String()
}
