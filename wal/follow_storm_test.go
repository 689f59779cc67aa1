package wal_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// watchers read the logs of a storm through all nodes while it lasts, and note
// in its ledger what they are told.
type watchers struct {
	*storm
	strict int // one of so many tails is linearizable, or bounded in its age
	ctx    context.Context
	wg     sync.WaitGroup

	mu      sync.Mutex
	moments []moment // in order
	tails   int      // linearizable
	aged    int
	young   int // aged ones of less than a second
	read    int // entries, by followers
}

// moment is when the ledger had so many events.
type moment struct {
	at  time.Time
	now int
}

func (s *storm) watch(seed uint64, strict int) (stop func() *watchers) {
	w := &watchers{storm: s, strict: strict}
	var cancel context.CancelFunc
	w.ctx, cancel = context.WithCancel(s.Context())
	w.wg.Go(w.clock)
	for i, id := range s.logs {
		for j := range uint64(3) {
			rnd := rand.New(rand.NewPCG(seed, uint64(i)<<8|j))
			w.wg.Go(func() { w.follow(rnd, id, s.names[i]) })
			w.wg.Go(func() { w.ask(rand.New(rand.NewPCG(seed, uint64(i)<<16|j)), id, s.names[i]) })
		}
	}
	return func() *watchers {
		cancel()
		w.wg.Wait()
		return w
	}
}

// clock notes how many events the ledger had when.
func (w *watchers) clock() {
	for w.ctx.Err() == nil {
		m := moment{time.Now(), w.ledger.Now()}
		w.mu.Lock()
		w.moments = append(w.moments, m)
		w.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

// at is a number of events that the ledger had at some time, or before.
func (w *watchers) at(t time.Time) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.moments) - 1; i >= 0; i-- {
		if !w.moments[i].at.After(t) {
			return w.moments[i].now
		}
	}
	return 0
}

// some returns a node that is alive.
func (w *watchers) some(rnd *rand.Rand) *member {
	all := w.alive()
	if len(all) == 0 {
		return nil
	}
	return all[rnd.IntN(len(all))]
}

// ask asks nodes for tails: linearizable ones, and those that a follower knows,
// which are as old as it says.
func (w *watchers) ask(rnd *rand.Rand, id fragment.LogID, name string) {
	for w.ctx.Err() == nil {
		time.Sleep(time.Duration(rnd.Int64N(int64(20 * time.Millisecond))))
		m := w.some(rnd)
		if m == nil {
			continue
		}
		level := api.Level{Linearizable: rnd.IntN(w.strict) == 0}
		if rnd.IntN(w.strict) == 0 {
			level.MaxLag = time.Duration(rnd.Int64N(int64(2 * time.Second)))
		}
		before, _ := m.view.still()
		begun, from := time.Now(), w.ledger.Now()
		ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
		tail, age, err := m.TailAge(ctx, id, level)
		cancel()
		if err != nil {
			w.expected(m, err)
			continue
		}
		if level.MaxLag > 0 && age > level.MaxLag+time.Since(begun) {
			w.Errorf("%s: asked for %v, got %v", m.name, level.MaxLag, age)
		}
		w.mu.Lock()
		if level.Linearizable {
			w.tails++
		} else if w.aged++; age < time.Second {
			w.young++
		}
		w.mu.Unlock()
		if !level.Linearizable {
			if now, frozen := m.view.still(); frozen || now != before {
				continue // it believes that it holds its lease, although it was replaced
			}
			from = w.at(begun.Add(-age))
		}
		fmt.Fprintf(w.out, "time=%s node %s says of log %s: tail %d, age %v, %+v, asked at %s\n",
			time.Now().Format(time.RFC3339Nano), m.name, name, tail, age, level, begun.Format(time.RFC3339Nano))
		w.ledger.Tail(name, from, wpd.LSN(tail))
	}
}

// expected fails the test if a node must not say that.
func (w *watchers) expected(m *member, err error) {
	for _, ok := range []error{api.ErrUnavailable, api.ErrClosed, context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, ok) {
			return
		}
	}
	w.Errorf("%s: %v", m.name, err)
}

// follow reads a log, on and on, through one node after another; it goes on
// where it was.
func (w *watchers) follow(rnd *rand.Rand, id fragment.LogID, name string) {
	next := fragment.LSN(1)
	for w.ctx.Err() == nil {
		m := w.some(rnd)
		if m == nil {
			time.Sleep(time.Millisecond)
			continue
		}
		ctx, cancel := context.WithTimeout(w.ctx, time.Duration(rnd.Int64N(int64(3*time.Second))))
		r := api.ReadRequest{Log: id, From: api.FromLSN, Value: uint64(next), Follow: true, Level: api.Level{AtLeast: next - 1}}
		st, err := m.Read(ctx, r)
		for err == nil {
			next, err = w.take(ctx, st, next, name)
		}
		if trimmed, ok := errors.AsType[*api.TrimmedError](err); ok {
			next = trimmed.First
		} else if _, ok := errors.AsType[*api.BeyondTailError](err); !ok {
			w.expected(m, err)
		}
		if st != nil {
			_ = st.Close()
		}
		cancel()
	}
}

// take takes what a follower gets next, which must be what comes next.
func (w *watchers) take(ctx context.Context, st api.Stream, next fragment.LSN, name string) (fragment.LSN, error) {
	c, err := st.Next(ctx)
	if err == io.EOF {
		return next, fmt.Errorf("a follower's stream of %s ended", name)
	}
	if err != nil {
		return next, err
	}
	if c.From != next || c.Tail < c.To {
		return next, fmt.Errorf("log %s: [%d, %d), tail %d, comes at %d", name, c.From, c.To, c.Tail, next)
	}
	for _, b := range c.Batches {
		entries, err := b.Entries()
		if err != nil {
			return next, err
		}
		lsn := b.From()
		for e, ok := entries.Next(); ok; e, ok = entries.Next() {
			if lsn >= c.From && lsn < c.To {
				w.mu.Lock()
				w.read++
				w.mu.Unlock()
				if err := w.ledger.Saw(name, wpd.Entry{LSN: wpd.LSN(lsn), Data: e.Data}); err != nil {
					return next, err
				}
			}
			lsn++
		}
	}
	return c.To, nil
}

// wireTrouble cuts a node off from another, or holds up what it is told.
func (s *storm) wireTrouble() {
	from, to := s.anyNode(), s.anyNode()
	if s.rnd.IntN(2) == 0 {
		s.wires.cut(from.name, to.name)
	} else {
		s.wires.hold(from.name, to.name)
	}
	s.wait(3 * time.Second)
	s.wires.mend()
	s.ledger.Fault("wires", 1)
}

// TestFollowersInStorm: three nodes to which everything happens, and followers
// on all of them. What a reader is given is what was appended, in order and
// without a gap; a linearizable tail hides nothing that was acknowledged before
// it was asked for, and any other nothing that is older than it says.
func TestFollowersInStorm(t *testing.T) {
	s := seed(t)
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	for k := range rounds {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			inStorm(t, s+uint64(k), func(s *storm) {
				events := []func(*storm){
					(*storm).handOver, (*storm).crashOne, (*storm).pauseOne, (*storm).lapse, (*storm).toggle, (*storm).wireTrouble, (*storm).wireTrouble,
				}
				stop := s.watch(s.rnd.Uint64(), []int{2, 50}[k%2])
				for range 15 {
					events[s.rnd.IntN(len(events))](s)
					s.wait(200 * time.Millisecond)
				}
				w := stop()
				if w.tails < 10 || w.young < 100 || w.read < 1000 {
					t.Errorf("too little came of it: %d linearizable tails, %d young ones, %d entries read", w.tails, w.young, w.read)
				}
				t.Logf("%d linearizable tails, %d of %d others younger than a second, %d entries read", w.tails, w.young, w.aged, w.read)
			})
		})
	}
}
