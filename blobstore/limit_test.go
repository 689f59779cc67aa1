package blobstore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// narrow is a store that takes 10 ms for a create, and takes so many at once; it
// throttles what is beyond, and what else it is told to.
type narrow struct {
	*blobtest.Mem
	refuses   func() bool // nil: never
	takes     atomic.Int64
	inFlight  atomic.Int64
	peak      atomic.Int64
	sent      atomic.Int64
	throttled atomic.Int64
}

func (n *narrow) Create(ctx context.Context, key string, parts [][]byte) error {
	defer n.inFlight.Add(-1)
	now := n.inFlight.Add(1)
	n.peak.Store(max(n.peak.Load(), now))
	n.sent.Add(1)
	if now > n.takes.Load() || n.refuses != nil && n.refuses() {
		n.throttled.Add(1)
		return &blobstore.ThrottledError{Err: errors.New("slow down")}
	}
	time.Sleep(10 * time.Millisecond) // of the bubble
	return n.Mem.Create(ctx, key, parts)
}

// load creates objects, so many at once, until it is stopped; all are created.
func load(t *testing.T, b *blobstore.Bucket, prefix string, workers int) (stop func() (created int64)) {
	ctx, cancel := context.WithCancel(t.Context())
	var made atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := b.Create(t.Context(), fmt.Sprintf("%s/%d/%d", prefix, w, i), []byte("x")); err != nil {
					t.Error(err)
					return
				}
				made.Add(1)
			}
		})
	}
	return func() int64 {
		cancel()
		wg.Wait()
		return made.Load()
	}
}

// TestLimitFindsWhatTheStoreTakes: 50 writers at a store that takes 10 requests
// at once settle near 10, lose nothing, and go back to 50 when it takes all.
func TestLimitFindsWhatTheStoreTakes(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const takes, workers = 10, 50
		reg := prometheus.NewRegistry()
		store := &narrow{Mem: blobtest.NewMem()}
		store.takes.Store(takes)
		b := blobstore.New(store, blobstore.Options{Registerer: reg})
		stop := load(t, b, "a", workers)
		time.Sleep(3 * time.Second) // of the bubble
		if store.throttled.Load() == 0 {
			t.Fatal("the store did not throttle")
		}

		sent, throttled := store.sent.Load(), store.throttled.Load()
		store.peak.Store(0)
		time.Sleep(10 * time.Second)
		sent, throttled = store.sent.Load()-sent, store.throttled.Load()-throttled
		full := int64(takes * 10 * time.Second / (10 * time.Millisecond))
		t.Logf("%d sent in 10 s, of %d that the store can take; %d throttled; at most %d at once", sent, full, throttled, store.peak.Load())
		if sent-throttled < full*3/4 || throttled > sent/20 || store.peak.Load() > takes+3 {
			t.Errorf("want at least three quarters of what the store can take, one in twenty throttled, and not much above %d at once", takes)
		}
		if limit := metric(t, reg, "wpd_blobstore_in_flight_limit_requests", "writes"); limit < takes/2 || limit > takes+2 {
			t.Errorf("the limit is %v, want about %d", limit, takes)
		}
		if metric(t, reg, "wpd_blobstore_limit_waits_total", "writes") == 0 || metric(t, reg, "wpd_blobstore_limit_wait_seconds_total", "writes") == 0 {
			t.Error("nobody waited")
		}

		store.takes.Store(1000)
		store.peak.Store(0)
		time.Sleep(5 * time.Second)
		if limit := metric(t, reg, "wpd_blobstore_in_flight_limit_requests", "writes"); limit != 0 || store.peak.Load() != workers {
			t.Errorf("5 s after the store takes all: limit %v, %d at once; want none, %d", limit, store.peak.Load(), workers)
		}
		if made, there := stop(), len(store.Keys("")); int(made) != there {
			t.Errorf("%d acknowledged, %d there", made, there)
		}
	})
}

// TestLimitByTimeouts: on a line so slow that eight requests at once never end
// in time, fewer do.
func TestLimitByTimeouts(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		line := &slowLine{Mem: blobtest.NewMem(), each: 10 * time.Second}
		b := blobstore.New(line, blobstore.Options{})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if err := b.Create(t.Context(), fmt.Sprint(i), []byte("x")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if line.late.Load() == 0 {
			t.Error("no request ran out of time")
		}
	})
}

// slowLine is a way to a store on which n requests at once take n times as long
// as one.
type slowLine struct {
	*blobtest.Mem
	each     time.Duration
	inFlight atomic.Int64
	late     atomic.Int64
}

func (l *slowLine) Create(ctx context.Context, key string, parts [][]byte) error {
	l.inFlight.Add(1)
	defer l.inFlight.Add(-1)
	const steps = 100
	for range steps {
		time.Sleep(l.each / steps * time.Duration(l.inFlight.Load()))
		if ctx.Err() != nil {
			l.late.Add(1)
			return context.Cause(ctx)
		}
	}
	return l.Mem.Create(ctx, key, parts)
}

// TestLimitWaits: those that wait for their turn get it in the order in which
// they came; one whose context ends has sent nothing, and is not in the way.
func TestLimitWaits(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(blobstore.Options{})
		// One throttled alone makes the limit one.
		first := w.faults.Add(blobtest.Fault{Kind: blobtest.Create, Before: &blobstore.ThrottledError{Err: errReply}, Count: 1})
		if err := w.Create(t.Context(), "first", []byte("x")); err != nil {
			t.Fatal(err)
		}
		wantHits(t, first, 1)
		again := w.faults.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: "again", Before: &blobstore.ThrottledError{Err: errReply}, Count: 1})
		hang := w.faults.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: "again", Hang: true, Count: 1})
		var wg sync.WaitGroup
		create := func(ctx context.Context, key string, check func(err error)) {
			wg.Go(func() { check(w.Create(ctx, key, []byte("x"))) })
			synctest.Wait()
		}
		fine := func(err error) {
			if err != nil {
				t.Error(err)
			}
		}
		create(t.Context(), "again", fine)
		time.Sleep(time.Second) // past its first attempt and the pause after it
		wantHits(t, again, 1)
		wantHits(t, hang, 1)

		w.faults.Add(blobtest.Fault{Kind: blobtest.Create, Delay: time.Second})
		began := make(map[string]time.Time)
		var mu sync.Mutex
		w.faults.Hook(func(_ context.Context, op blobtest.Op) error {
			mu.Lock()
			defer mu.Unlock()
			began[op.Key] = time.Now()
			return nil
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("no longer wanted")
		for i := range 3 {
			create(t.Context(), fmt.Sprint("before", i), fine)
		}
		create(ctx, "gone", func(err error) {
			if !errors.Is(err, gone) || errors.Is(err, blobstore.ErrUnknown) {
				t.Errorf("Create = %v, want the context's cause, and not unknown: nothing was sent", err)
			}
		})
		for i := range 3 {
			create(t.Context(), fmt.Sprint("behind", i), fine)
		}
		cancel(gone)
		synctest.Wait()
		hang.Release()
		wg.Wait()
		var last time.Time
		for _, key := range []string{"before0", "before1", "before2", "behind0", "behind1", "behind2"} {
			if began[key].Before(last) {
				t.Errorf("%s was sent before those that came before it: %v", key, began)
			}
			last = began[key]
		}
		if len(began) != 6 || !last.After(began["before0"]) {
			t.Errorf("sent %v, want six, not all at once", began)
		}
	})
}

// TestRetryAfter: a store that asks to be left alone is, but not for ever.
func TestRetryAfter(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{3 * time.Second: 3 * time.Second, time.Hour: 10 * time.Second} {
		t.Run(asked.String(), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(blobstore.Options{})
				w.mem.Put("r", []byte("x"))
				busy := w.faults.Add(blobtest.Fault{Before: &blobstore.ThrottledError{After: asked, Err: errReply}, Count: 1})
				for verb, do := range map[string]func() error{
					"create": func() error { return w.Create(t.Context(), "k", []byte("x")) },
					"read":   func() error { _, _, err := w.ReadRange(t.Context(), "r", 0, 1); return err },
				} {
					start := time.Now()
					if err := do(); err != nil {
						t.Fatal(err)
					}
					if took := time.Since(start); took < want || took > want+time.Second {
						t.Errorf("%s took %v, want %v and the usual pause", verb, took, want)
					}
					wantHits(t, busy, 1)
					busy = w.faults.Add(blobtest.Fault{Before: &blobstore.ThrottledError{After: asked, Err: errReply}, Count: 1})
				}
			})
		})
	}
}
