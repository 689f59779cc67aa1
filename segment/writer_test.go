package segment

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// gates hold each create of a fragment until it is let through.
type gates struct {
	mu      sync.Mutex
	gate    map[uint64]chan struct{}
	started []uint64
	passed  map[uint64]bool
	most    uint64 // the highest window used: start of n while only 1..n-most were through
}

func hold(s *store) *gates {
	g := &gates{gate: make(map[uint64]chan struct{}), passed: make(map[uint64]bool)}
	s.Hook(func(ctx context.Context, op blobtest.Op) error {
		_, n, err := fragment.ParseChainKey(op.Key)
		if op.Kind != blobtest.Create || err != nil || n == 0 {
			return nil
		}
		g.mu.Lock()
		g.started = append(g.started, n)
		durable := uint64(0)
		for g.passed[durable+1] {
			durable++
		}
		g.most = max(g.most, n-durable)
		c := g.gate[n]
		if c == nil {
			c = make(chan struct{})
			g.gate[n] = c
		}
		g.mu.Unlock()
		select {
		case <-c:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return g
}

func (g *gates) pass(n uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.passed[n] = true
	close(g.gate[n])
}

// held lists the creates that wait.
func (g *gates) held() []uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	var held []uint64
	for n := range g.gate {
		if !g.passed[n] {
			held = append(held, n)
		}
	}
	slices.Sort(held)
	return held
}

// Creates are let through in any order. Nothing may be acknowledged before its
// fragment and all before it are through, acks leave in order, and fragment n
// starts only once 1..n-W are through. This is also the acknowledged tail of a
// segment while an earlier fragment of the chain is still in flight.
func TestAcksWaitForAllBefore(t *testing.T) {
	r, _ := newRand(t)
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		w := create(t, s, Options{FragmentBytes: 1 << 10})
		g := hold(s)
		a := newAppender(t, w)
		var mu sync.Mutex
		var order []int
		acks, in := make([]*ack, 60), make([]uint64, 60)
		for i := range acks {
			x := newAck(t)
			x.tell = func() { mu.Lock(); order = append(order, i); mu.Unlock() }
			n, err := a.put(fragment.LogID(1+i%3), 400, x)
			require.NoError(t, err)
			acks[i], in[i] = x, n
		}
		for {
			synctest.Wait()
			held := g.held()
			if len(held) == 0 {
				break
			}
			require.LessOrEqual(t, len(held), 8)
			g.pass(held[r.IntN(len(held))])
			synctest.Wait()
			durable := uint64(0)
			for g.passed[durable+1] {
				durable++
			}
			require.Equal(t, durable, w.Durable())
			for i, x := range acks {
				require.Equal(t, in[i] <= durable, x.settled(), "batch %d of fragment %d, %d durable", i, in[i], durable)
			}
		}
		require.True(t, slices.IsSorted(order))
		require.Len(t, order, len(acks))
		require.EqualValues(t, 8, g.most)
		require.NoError(t, w.Close(t.Context()))
		requireRoom(t, w)
	})
}

func TestIdleWriterFlushesAtOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		s.Add(blobtest.Fault{Kind: blobtest.Create, Delay: 10 * time.Millisecond})
		w := create(t, s, Options{})
		a := newAppender(t, w)
		for range 5 {
			start := time.Now()
			x, _ := a.add(1, 100)
			require.NoError(t, x.wait())
			require.Equal(t, 10*time.Millisecond, time.Since(start))
		}
		require.NoError(t, w.Close(t.Context()))
	})
}

// A thousand logs with one entry each, at once or one after another, cost a
// handful of creates.
func TestManyLogsShareFragments(t *testing.T) {
	for name, pause := range map[string]time.Duration{"at once": 0, "within 50 ms": 50 * time.Microsecond} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				s := newStore()
				w := create(t, s, Options{})
				s.Add(blobtest.Fault{Kind: blobtest.Create, Delay: 100 * time.Millisecond})
				a := newAppender(t, w)
				before, start := s.Count(blobtest.Create), time.Now()
				var acks []*ack
				for log := range fragment.LogID(1000) {
					x, _ := a.add(log+1, 100)
					acks = append(acks, x)
					time.Sleep(pause)
				}
				for _, x := range acks {
					require.NoError(t, x.wait())
				}
				n := s.Count(blobtest.Create) - before
				t.Logf("%d creates, %v", n, time.Since(start))
				require.LessOrEqual(t, n, 10)
				require.Less(t, time.Since(start), 300*time.Millisecond)
				require.NoError(t, w.Close(t.Context()))
			})
		})
	}
}

func TestBusyWriterFillsFragments(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		w := create(t, s, Options{FragmentBytes: 64 << 10})
		s.Add(blobtest.Fault{Kind: blobtest.Create, Delay: 100 * time.Millisecond})
		a := newAppender(t, w)
		var last *ack
		for range 1000 {
			last, _ = a.add(1, 1<<10)
		}
		require.NoError(t, last.wait())
		// 18 full ones; those before, until the window is in use, are smaller.
		require.LessOrEqual(t, s.Count(blobtest.Create), 1+18+8)
		require.NoError(t, w.Close(t.Context()))
	})
}

func TestFlushInterval(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		w := create(t, s, Options{FlushInterval: time.Second, FragmentBytes: 64 << 10})
		a := newAppender(t, w)
		for range 100 { // ten seconds
			a.add(1, 100)
			time.Sleep(100 * time.Millisecond)
		}
		require.InDelta(t, 11, s.Count(blobtest.Create)-1, 1)
		x, _ := a.add(1, 100)
		require.NoError(t, w.Flush(t.Context()), "a flush does not wait for the interval")
		require.True(t, x.settled())
		before := s.Count(blobtest.Create)
		for range 80 {
			a.add(1, 1<<10)
		}
		synctest.Wait()
		require.Equal(t, before+1, s.Count(blobtest.Create), "a full fragment does not wait either")
		require.NoError(t, w.Close(t.Context()))
	})
}

// Reserve blocks where there is no room, acks let it go on, and so does ctx.
func TestBackPressure(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		w := create(t, s, Options{FragmentBytes: 1 << 20})
		rule := s.Add(blobtest.Fault{Kind: blobtest.Create, Hang: true})
		a := newAppender(t, w)
		const all, size = roomBytes, 1 << 20
		done := make(chan int)
		go func() {
			n := 0
			for range 2 * all / size {
				if _, err := a.put(1, size, newAck(t)); err != nil {
					t.Error(err)
				}
				n++
			}
			done <- n
		}()
		synctest.Wait()
		require.LessOrEqual(t, len(a.sent[1])*size, all)
		require.GreaterOrEqual(t, (len(a.sent[1])+1)*(size+1<<10), all)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, w.Reserve(ctx, size), context.DeadlineExceeded)
		rule.Release()
		<-done
		require.NoError(t, w.Close(t.Context()))
		requireRoom(t, w)
	})
}

// While the lease is not held, no fragment is started, full ones included; what
// is in flight lands and is acknowledged. Wake starts what waited, as one
// fragment.
func TestLapsedLease(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		var lapsed atomic.Bool
		w := create(t, s, Options{Lease: func() bool { return !lapsed.Load() }})
		g := hold(s)
		a := newAppender(t, w)
		flying, _ := a.add(1, 100)
		synctest.Wait()
		require.Equal(t, []uint64{1}, g.held())
		lapsed.Store(true)
		before := s.Count(blobtest.Create)
		small, n := a.add(1, 100)
		require.EqualValues(t, 2, n)
		g.pass(1)
		require.NoError(t, flying.wait())
		time.Sleep(time.Hour)
		synctest.Wait()
		large, n := a.add(1, 100)
		require.EqualValues(t, 2, n, "it goes on filling")
		var full []*ack
		for range 9 {
			x, _ := a.add(1, 1<<20-1000)
			full = append(full, x)
		}
		flushed := make(chan error)
		go func() { flushed <- w.Flush(t.Context()) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, before, s.Count(blobtest.Create))
		require.False(t, small.settled() || large.settled())

		s.Hook(nil)
		lapsed.Store(false)
		w.Wake()
		require.NoError(t, <-flushed)
		require.NoError(t, small.wait())
		require.NoError(t, full[8].wait())
		require.Equal(t, before+2, s.Count(blobtest.Create))
		require.NoError(t, w.Close(t.Context()))
		requireRoom(t, w)
	})
}

// Writers that share their room wait for one another's bytes, and an end of one
// of them gives back only what it had.
func TestSharedRoom(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		const most = 4 << 20
		room := semaphore.NewWeighted(most)
		other := testChain
		other.Epoch++
		one := create(t, s, Options{Room: room})
		two, err := Create(t.Context(), s, other, Options{Room: room})
		require.NoError(t, err)
		rule := s.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: fragment.ChainPrefix(testChain.Epoch), Hang: true})
		a := newAppender(t, one)
		var acks []*ack
		for range 3 {
			x, _ := a.add(1, 1<<20-1000)
			acks = append(acks, x)
		}
		synctest.Wait()
		require.Positive(t, rule.Waiting())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		require.ErrorIs(t, two.Reserve(ctx, 2<<20), context.DeadlineExceeded)
		cancel()
		require.NoError(t, two.Reserve(t.Context(), 1<<20))
		waits := make(chan error)
		go func() { waits <- two.Reserve(t.Context(), 2<<20) }()
		synctest.Wait()
		rule.Release()
		require.NoError(t, <-waits)
		for _, x := range acks {
			require.NoError(t, x.wait())
		}
		require.NoError(t, one.Close(t.Context()))
		require.False(t, room.TryAcquire(2<<20), "the other has it")
		two.Unreserve(3 << 20)
		require.NoError(t, two.Close(t.Context()))
		require.True(t, room.TryAcquire(most))
	})
}

func TestCreateOfUsedEpoch(t *testing.T) {
	s := newStore()
	w := create(t, s, Options{})
	other := testChain
	other.Nonce[0]++
	_, err := Create(t.Context(), s, other, Options{})
	require.ErrorIs(t, err, fs.ErrExist)
	require.NoError(t, w.Close(t.Context()))
}

func TestOptionsAreBounded(t *testing.T) {
	o := Options{FragmentBytes: 1 << 30, CutBytes: -1}.withDefaults(Chain{}.valid())
	require.Equal(t, fragment.FragmentBytes, o.FragmentBytes)
	require.True(t, o.Room.TryAcquire(5*fragment.FragmentBytes))
	require.False(t, o.Room.TryAcquire(1))
	require.EqualValues(t, 1<<30, o.CutBytes)
	small := Options{FragmentBytes: 1}.withDefaults(testChain)
	require.True(t, small.Room.TryAcquire(3*fragment.FragmentBytes))
	require.False(t, small.Room.TryAcquire(1))
}

// Concurrent appenders, flushers and waiters; the race detector looks on.
func TestConcurrentUse(t *testing.T) {
	s := newStore()
	w := create(t, s, Options{FragmentBytes: 4 << 10})
	var wg sync.WaitGroup
	for log := range fragment.LogID(8) {
		wg.Go(func() {
			a := newAppender(t, w)
			for i := range 100 {
				x, n := a.add(log+1, 100)
				behind := newAck(t)
				settled, err := w.After(n, behind)
				if err != nil {
					t.Error(err)
				}
				if i%10 == 0 {
					if err := w.Flush(t.Context()); err != nil {
						t.Error(err)
					}
					if !x.settled() || !settled && !behind.settled() {
						t.Error("flushed, but not settled")
					}
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, w.Close(t.Context()))
	requireRoom(t, w)
	_, err := w.Append(1, makeBatch(1, 1, 1, 1, 1, 1), 0, newAck(t))
	require.True(t, errors.Is(err, ErrClosed))
}
