package blobstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// tailed is a store that takes a while for a create, up to half as long again, and
// one time in fifty a hundred times as long.
type tailed struct {
	*blobtest.Mem
	takes time.Duration
	sent  atomic.Int64

	mu   sync.Mutex
	rand *rand.Rand
}

func newTailed(takes time.Duration) *tailed {
	return &tailed{Mem: blobtest.NewMem(), takes: takes, rand: rand.New(rand.NewPCG(1, 2))}
}

// next is how long a create takes.
func (s *tailed) next() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rand.IntN(50) == 0 {
		return 100 * s.takes
	}
	return s.takes + time.Duration(s.rand.Int64N(int64(s.takes/2)))
}

func (s *tailed) Create(ctx context.Context, key string, parts [][]byte) error {
	s.sent.Add(1)
	select {
	case <-time.After(s.next()):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return s.Mem.Create(ctx, key, parts)
}

// timesOf are those of n creates, one after the other, from the fastest to the
// slowest.
func timesOf(tb testing.TB, b *blobstore.Bucket, n int) []time.Duration {
	took := make([]time.Duration, n)
	for i := range took {
		start := time.Now()
		if err := b.Create(tb.Context(), fmt.Sprint("k", i), []byte("body")); err != nil {
			tb.Fatal(err)
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took
}

// TestHedge: one create in fifty takes a second; if one in twenty may be sent
// twice, hardly any does.
func TestHedge(t *testing.T) {
	const n = 2000
	for _, percent := range []int{0, 5, 1} {
		t.Run(fmt.Sprint(percent), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				reg := prometheus.NewRegistry()
				store := newTailed(10 * time.Millisecond)
				b := blobstore.New(store, blobstore.Options{HedgePercent: percent, Registerer: reg})
				took := timesOf(t, b, n)
				extra := store.sent.Load() - n
				p99, all := took[n*99/100], len(store.Keys(""))
				t.Logf("p50 %v, p99 %v, max %v, %d requests more", took[n/2], p99, took[n-1], extra)
				if all != n {
					t.Errorf("%d objects, want %d", all, n)
				}
				// What a quiet start has saved up comes on top.
				if limit := int64(percent*n/100) + 4; extra > limit || percent == 0 && extra != 0 {
					t.Errorf("%d requests more, want at most %d of %d creates", extra, limit, n)
				}
				if hedged := p99 < 100*time.Millisecond; hedged != (percent == 5) {
					t.Errorf("p99 is %v with %d percent", p99, percent)
				}
				if percent == 5 && metric(t, reg, "wpd_blobstore_hedges_total", "second") == 0 {
					t.Error("no second request has won")
				}
			})
		})
	}
}

// TestHedgeLost: whichever of two identical creates is stored, the call succeeds,
// and both have ended.
func TestHedgeLost(t *testing.T) {
	for name, c := range map[string]struct{ first, second blobtest.Fault }{
		"the first was stored, slowly":              {blobtest.Fault{Delay: time.Second}, blobtest.Fault{Delay: 2 * time.Second}},
		"the second was stored":                     {blobtest.Fault{Hang: true}, blobtest.Fault{}},
		"the second failed, the first was stored":   {blobtest.Fault{Delay: time.Second}, blobtest.Fault{Before: errReply}},
		"the second was stored, its reply was lost": {blobtest.Fault{Delay: time.Second}, blobtest.Fault{After: errReply}},
		"both failed": {blobtest.Fault{Delay: time.Second, Before: errReply}, blobtest.Fault{Before: errReply}},
		"both hang, and the next attempt is answered": {blobtest.Fault{Hang: true}, blobtest.Fault{Hang: true}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(blobstore.Options{HedgePercent: 100})
				warm(t, w)
				rules := make([]*blobtest.Rule, 0, 2)
				for _, f := range []blobtest.Fault{c.first, c.second} {
					f.Kind, f.Prefix, f.Count = blobtest.Create, "k", 1
					rules = append(rules, w.faults.Add(f))
				}
				before := w.faults.Count(blobtest.Create)
				if err := w.Create(t.Context(), "k", []byte("mine")); err != nil {
					t.Fatalf("Create = %v", err)
				}
				for _, r := range rules {
					wantHits(t, r, 1)
					if r.Waiting() != 0 {
						t.Error("a request has outlived its call")
					}
				}
				if got, _ := w.mem.Object("k"); string(got) != "mine" {
					t.Errorf("stored %q", got)
				}
				if sent := w.faults.Count(blobtest.Create) - before; sent < 2 {
					t.Errorf("%d creates sent, want two", sent)
				}
			})
		})
	}
}

// slowReply is a store that keeps the reply to its first create of k back.
type slowReply struct {
	*blobtest.Faults
	held atomic.Int64
}

func (s *slowReply) Create(ctx context.Context, key string, parts [][]byte) error {
	err := s.Faults.Create(ctx, key, parts)
	if key == "k" && s.held.Add(1) == 1 {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return err
}

// TestHedgeOwnRace: the first is stored and says nothing, so that the second is
// told that something is there: it is ours.
func TestHedgeOwnRace(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(blobstore.Options{})
		store := &slowReply{Faults: w.faults}
		w.Bucket = blobstore.New(store, blobstore.Options{HedgePercent: 100})
		warm(t, w)
		start := time.Now()
		if err := w.Create(t.Context(), "k", []byte("mine")); err != nil {
			t.Fatalf("Create = %v", err)
		}
		if took := time.Since(start); took > time.Second || store.held.Load() != 2 {
			t.Errorf("took %v, and %d creates; want no deadline, and 2", took, store.held.Load())
		}
	})
}

// TestHedgeExists: twice nothing is still nothing of ours.
func TestHedgeExists(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(blobstore.Options{HedgePercent: 100})
		warm(t, w)
		w.mem.Put("k", []byte("a seal"))
		slow := w.faults.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: "k", Delay: time.Second, Count: 1})
		err := w.Create(t.Context(), "k", []byte("mine"))
		if _, ok := err.(*blobstore.ExistsError); !ok {
			t.Errorf("Create = %v, want an ExistsError", err)
		}
		wantHits(t, slow, 1)
	})
}

// warm makes the bucket know what is fast.
func warm(t *testing.T, w world) {
	delay := w.faults.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: "warm", Delay: 10 * time.Millisecond})
	for i := range 40 {
		if err := w.Create(t.Context(), fmt.Sprint("warm", i), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	delay.Remove()
}

// BenchmarkHedge shows what some second requests do to the slow ones of
// a store with a tail: one create in fifty takes 100 ms, the others one.
func BenchmarkHedge(b *testing.B) {
	for _, percent := range []int{0, 1, 2, 5} {
		b.Run(fmt.Sprintf("percent=%v", percent), func(b *testing.B) {
			const n = 500
			var all []time.Duration
			var sent int64
			for b.Loop() {
				store := newTailed(time.Millisecond)
				all = append(all, timesOf(b, blobstore.New(store, blobstore.Options{HedgePercent: percent}), n)...)
				sent += store.sent.Load()
			}
			slices.Sort(all)
			ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
			b.ReportMetric(ms(all[len(all)/2]), "p50-ms")
			b.ReportMetric(ms(all[len(all)*99/100]), "p99-ms")
			b.ReportMetric(float64(sent)/float64(len(all)), "requests/create")
		})
	}
}
