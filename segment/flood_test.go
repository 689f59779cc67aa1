package segment

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// fragmentsOf are the sizes of a chain's fragments, in bytes.
func fragmentsOf(s *store) (sizes []int) {
	for n := uint64(1); ; n++ {
		b, ok := s.mem.Object(chainKey(n))
		if !ok {
			return sizes
		}
		sizes = append(sizes, len(b))
	}
}

// Appenders of some kinds, against a store that takes 3 ms for anything. Those
// that are not faster than it by far are flushed as if there were no floods;
// of those that are, fragments are full.
func TestFlood(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes int           // of a batch
		every time.Duration // 0: as soon as there is room
		most  int           // batches that are not acknowledged; 0: any number
		count int           // batches
		ready int           // batches that are said to be ready; 0: nothing is said
		full  int           // fragments that are full, at least
		small int           // fragments that are not, at most
		worst time.Duration // time to an acknowledgement
	}{
		{"500 small ones a second", 1 << 10, 2 * time.Millisecond, 0, 500, 0, 0, 500, 6 * time.Millisecond},
		{"50 MB/s", 64 << 10, 1300 * time.Microsecond, 0, 500, 0, 0, 500, 6 * time.Millisecond},
		{"300 MB/s of small batches", 16 << 10, 50 * time.Microsecond, 0, 8000, 0, 14, 10, 60 * time.Millisecond},
		{"300 MB/s of large ones", 1000 << 10, 3300 * time.Microsecond, 0, 300, 0, 34, 10, 60 * time.Millisecond},
		{"a large one now and then", 1000 << 10, 20 * time.Millisecond, 0, 50, 0, 0, 50, 3 * time.Millisecond},
		{"many small ones at a time", 4 << 10, 0, 100, 10_000, 0, 0, 250, 30 * time.Millisecond},
		{"90 MB/s, and much more is ready", 16 << 10, 180 * time.Microsecond, 0, 5000, 5000, 0, 24, 80 * time.Millisecond},
		{"300 MB/s, and nothing more is ready", 16 << 10, 50 * time.Microsecond, 0, 2000, 1, 0, 2000, 10 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				s := newStore()
				s.Add(blobtest.Fault{Kind: blobtest.Create, Delay: 3 * time.Millisecond})
				w := create(t, s, Options{Room: semaphore.NewWeighted(1 << 30)})
				a := newAppender(t, w)
				room := make(chan struct{}, max(c.most, 1))
				var worst time.Duration
				for i := range c.count {
					if c.most > 0 {
						room <- struct{}{}
					}
					x, sent := newAck(t), time.Now()
					x.tell = func() {
						worst = max(worst, time.Since(sent))
						if c.most > 0 {
							<-room
						}
					}
					a.ready = c.bytes * min(c.ready, c.count-i)
					_, err := a.put(fragment.LogID(1+i%10), c.bytes, x)
					require.NoError(t, err)
					time.Sleep(c.every)
				}
				require.NoError(t, w.Flush(t.Context()))
				full, small := 0, 0
				for _, size := range fragmentsOf(s) {
					if size+c.bytes+1<<17 > fragment.FragmentBytes {
						full++
					} else {
						small++
					}
				}
				require.GreaterOrEqual(t, full, c.full)
				require.LessOrEqual(t, small, c.small)
				require.LessOrEqual(t, worst, c.worst)
				require.NoError(t, w.Close(t.Context()))
				t.Logf("%d full, %d small, worst %v", full, small, worst)
			})
		})
	}
}

// Whoever appends as fast as a flood, but waits for answers long before a
// fragment is full, is kept waiting only now and then: less and less.
func TestFloodThatStops(t *testing.T) {
	took := map[bool]time.Duration{}
	for _, hopeful := range []bool{false, true} {
		bubble.Test(t, func(t *testing.T) {
			s := newStore()
			s.Add(blobtest.Fault{Kind: blobtest.Create, Delay: 3 * time.Millisecond})
			w := create(t, s, Options{Room: semaphore.NewWeighted(1 << 30)})
			if !hopeful {
				w.flood.doubt, w.flood.last = 1<<30, time.Now()
			}
			a := newAppender(t, w)
			start := time.Now()
			for range 300 {
				var acks []*ack
				for range 3 {
					x, _ := a.add(1, 1000<<10)
					acks = append(acks, x)
				}
				for _, x := range acks {
					require.NoError(t, x.wait())
				}
			}
			took[hopeful] = time.Since(start)
			if hopeful {
				require.Positive(t, w.flood.wrong, "it was never wrong")
			}
			require.NoError(t, w.Close(t.Context()))
		})
	}
	require.Greater(t, took[true], took[false])
	require.Less(t, took[true], took[false]*12/10)
	t.Log(took)
}

// Many that begin at once make one fragment: the first of them, alone on an idle
// store, is kept for the others if they are said to be ready.
func TestFloodBegins(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		s.Add(blobtest.Fault{Kind: blobtest.Create, Delay: 3 * time.Millisecond})
		w := create(t, s, Options{Room: semaphore.NewWeighted(1 << 30)})
		a := newAppender(t, w)
		const rounds, batches = 10, 100
		for range rounds {
			var acks []*ack
			for i := range batches {
				a.ready = (batches - i) * 4 << 10
				x := newAck(t)
				_, err := a.put(fragment.LogID(1+i), 4<<10, x)
				require.NoError(t, err)
				acks = append(acks, x)
				time.Sleep(20 * time.Microsecond)
			}
			for _, x := range acks {
				require.NoError(t, x.wait())
			}
			time.Sleep(2 * floodForget)
		}
		require.Len(t, fragmentsOf(s), rounds)
		require.NoError(t, w.Close(t.Context()))
	})
}
