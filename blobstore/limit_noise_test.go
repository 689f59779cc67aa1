package blobstore_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// weighed is what a store was sent within a time, in requests.
type weighed struct{ sent, throttled int64 }

// weigh lets a bubble's time pass.
func (n *narrow) weigh(d time.Duration) weighed {
	before := weighed{n.sent.Load(), n.throttled.Load()}
	time.Sleep(d)
	return weighed{n.sent.Load() - before.sent, n.throttled.Load() - before.throttled}
}

func (w weighed) taken() int64 { return w.sent - w.throttled }

// TestLimitUnderNoise: a store that throttles half of all requests, however few
// there are, is not sent one after the other, but most of what it would take
// without a limit; and when it throttles only what is more than 10 at once, it is
// not sent much more than that.
func TestLimitUnderNoise(t *testing.T) {
	// Without a limit 16 writers get 190 creates done in a second, and 50 580: most
	// of the time they pause. With one that each throttled request cuts it is 125.
	for workers, least := range map[int]int64{16: 145, 50: 300} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) { limitUnderNoise(t, workers, least) })
		})
	}
}

func limitUnderNoise(t *testing.T, workers int, least int64) {
	store := &narrow{Mem: blobtest.NewMem()}
	store.takes.Store(1000)
	var mu sync.Mutex
	random, noisy := rand.New(rand.NewPCG(1, 2)), true
	store.refuses = func() bool {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(2) == 0 && noisy
	}
	reg := prometheus.NewRegistry()
	b := blobstore.New(store, blobstore.Options{Registerer: reg})
	stop := load(t, b, "a", workers)
	store.weigh(5 * time.Second)
	got := store.weigh(30 * time.Second)
	t.Logf("%d writers: %d creates a second, %d of %d throttled", workers, got.taken()/30, got.throttled, got.sent)
	if got.taken() < 30*least || got.throttled < got.sent/3 {
		t.Errorf("%d writers: %d creates a second, %d of %d throttled; want at least %d a second, and half throttled",
			workers, got.taken()/30, got.throttled, got.sent, least)
	}

	const takes = 10
	mu.Lock()
	noisy = false
	mu.Unlock()
	store.takes.Store(takes)
	store.weigh(5 * time.Second)
	got = store.weigh(10 * time.Second)
	full := int64(takes * 10 * time.Second / (10 * time.Millisecond))
	t.Logf("%d writers, without the noise: %d of %d taken, %d throttled", workers, got.taken(), full, got.throttled)
	if got.taken() < full*3/4 || got.throttled > got.sent/20 {
		t.Errorf("%d writers, without the noise: %d of %d taken, %d throttled; want three quarters, and at most one in twenty",
			workers, got.taken(), full, got.throttled)
	}
	if metric(t, reg, "wpd_blobstore_limit_waits_total", "writes") == 0 {
		t.Error("nobody waited")
	}
	if made, there := stop(), len(store.Keys("")); int(made) != there {
		t.Errorf("%d acknowledged, %d there", made, there)
	}
}

// TestLimitByRate: a store that takes so many requests a second, and throttles
// the rest, also one that comes alone, gets all that it takes, and few more.
func TestLimitByRate(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const rate, burst, seconds = 300, 30, 30
		store := &narrow{Mem: blobtest.NewMem()}
		store.takes.Store(1000)
		var mu sync.Mutex
		var may float64
		var at time.Time
		store.refuses = func() bool {
			mu.Lock()
			defer mu.Unlock()
			may = min(may+time.Since(at).Seconds()*rate, burst)
			at = time.Now()
			if may < 1 {
				return true
			}
			may--
			return false
		}
		stop := load(t, blobstore.New(store, blobstore.Options{}), "a", 50)
		store.weigh(5 * time.Second)
		got := store.weigh(seconds * time.Second)
		t.Logf("%d creates a second, %d of %d throttled", got.taken()/seconds, got.throttled, got.sent)
		if got.taken() < rate*seconds*95/100 || got.throttled == 0 || got.throttled > got.sent/3 {
			t.Errorf("%d creates a second, %d of %d throttled; want %d, and at most a third", got.taken()/seconds, got.throttled, got.sent, rate)
		}
		if made, there := stop(), len(store.Keys("")); int(made) != there {
			t.Errorf("%d acknowledged, %d there", made, there)
		}
	})
}
