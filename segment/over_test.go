package segment

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

func sealObject(n uint64, kind fragment.Kind, c Chain) []byte {
	o := fragment.Encode(fragment.Head{Kind: kind, Epoch: c.Epoch, N: n, Nonce: testSealer.Nonce, Cluster: c.Cluster},
		&fragment.Directory{Seal: &fragment.Seal{Node: "node-b", Boot: 1}})
	return bytes.Join(o.Parts, nil)
}

// Every attempt to create a fragment carries the same bytes, and a lost reply,
// once or several times, is no failure, whether the store below resolves it or
// the writer has to.
func TestLostRepliesAndRetries(t *testing.T) {
	for _, own := range []bool{true, false} {
		bubble.Test(t, func(t *testing.T) {
			s := newStore()
			s.own = own
			w := create(t, s, Options{})
			bodies := make(map[string][]byte)
			s.Hook(func(_ context.Context, op blobtest.Op) error {
				if op.Kind == blobtest.Create {
					body := bytes.Join(op.Parts, nil)
					if have, ok := bodies[op.Key]; ok {
						require.Equal(t, have, body, "%s was retried with other bytes", op.Key)
					}
					bodies[op.Key] = body
				}
				return nil
			})
			s.Add(blobtest.Fault{Kind: blobtest.Create, Before: errors.New("503"), Count: 3})
			s.Add(blobtest.Fault{Kind: blobtest.Create, After: errors.New("reset"), Count: 3})
			a := newAppender(t, w)
			for range 10 {
				x, _ := a.add(1, 100)
				require.NoError(t, x.wait())
				time.Sleep(time.Second)
			}
			require.NoError(t, w.Close(t.Context()))
			require.Len(t, bodies, 10)
		})
	}
}

// What ends a chain: a seal or a gap in a fragment's place means moved,
// anything else there an intruder. Nothing unsettled is acknowledged, all of
// it is answered, and Over is told once.
func TestWhatStandsInPlace(t *testing.T) {
	other := testChain
	other.Cluster[0]++
	late := testChain
	late.Epoch++
	cases := map[string]struct {
		there   []byte
		foreign bool
	}{
		"seal":                    {sealObject(3, fragment.KindSeal, testChain), false},
		"gap":                     {sealObject(3, fragment.KindGap, testChain), false},
		"seal of another cluster": {sealObject(3, fragment.KindSeal, other), true},
		"seal of another chain":   {sealObject(3, fragment.KindSeal, late), true},
		"seal of another place":   {sealObject(4, fragment.KindSeal, testChain), true},
		"rubbish":                 {[]byte("rubbish"), true},
		"nothing in it":           {nil, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				s := newStore()
				var over []error
				w := create(t, s, Options{FragmentBytes: 1 << 10, Over: func(err error) { over = append(over, err) }})
				s.mem.Put(chainKey(3), c.there)
				s.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: chainKey(2), Delay: time.Second})
				s.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: chainKey(3), Delay: time.Second / 4})
				a := newAppender(t, w)
				var acks []*ack
				var in []uint64
				for range 12 {
					x, n := a.add(1, 400)
					acks, in = append(acks, x), append(in, n)
				}
				time.Sleep(time.Second / 2)
				behind := newAck(t)
				settled, err := w.After(2, behind) // 2 is still on its way, and will be durable
				require.NoError(t, err)
				require.False(t, settled)
				_, err = a.put(1, 400, newAck(t))
				require.Error(t, err)
				for i, x := range acks {
					err := x.wait()
					switch {
					case in[i] < 3:
						require.NoError(t, err)
					case c.foreign:
						f, ok := errors.AsType[*ForeignError](err)
						require.True(t, ok, "%v", err)
						require.Equal(t, chainKey(3), f.Key)
					default:
						require.ErrorIs(t, err, ErrSealed)
					}
				}
				require.NoError(t, behind.wait())
				require.EqualValues(t, 2, w.Durable())
				_, err = w.After(3, newAck(t))
				require.Error(t, err)
				if err := w.Close(t.Context()); c.foreign {
					require.Error(t, err)
				} else {
					require.NoError(t, err)
				}
				require.Len(t, over, 1)
				requireRoom(t, w)
			})
		})
	}
}

// A store that can't say what stands in a fragment's place says nothing about
// intruders: the writer asks again.
func TestUnreadablePlaceIsNoIntruder(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		s.own = false
		w := create(t, s, Options{Over: func(err error) { t.Error(err) }})
		s.Add(blobtest.Fault{Kind: blobtest.Create, After: errors.New("reset"), Count: 1})
		s.Add(blobtest.Fault{Kind: blobtest.Read, Before: errors.New("503"), Count: 5})
		s.Add(blobtest.Fault{Kind: blobtest.Read, Flip: 30, Count: 1})
		x, _ := newAppender(t, w).add(1, 100)
		require.NoError(t, x.wait())
		require.NoError(t, w.Close(t.Context()))
	})
}

func TestAfter(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		w := create(t, s, Options{})
		rule := s.Add(blobtest.Fault{Kind: blobtest.Create, Delay: time.Second})
		a := newAppender(t, w)
		x, n := a.add(1, 100)
		y := newAck(t)
		y.tell = func() { require.True(t, x.settled(), "behind all that came before") }
		settled, err := w.After(n, y)
		require.NoError(t, err)
		require.False(t, settled)
		require.NoError(t, y.wait())
		synctest.Wait()
		settled, err = w.After(n, newAck(t))
		require.NoError(t, err)
		require.True(t, settled)
		_, err = w.After(n+2, newAck(t))
		require.Error(t, err, "a fragment that was never begun")
		rule.Remove()

		// A note is flushed when it is waited for.
		m, err := w.Note(nil, fragment.LogState{Log: 1, Attachment: 1, End: a.next[1]})
		require.NoError(t, err)
		time.Sleep(time.Hour)
		require.Less(t, w.Durable(), m)
		z := newAck(t)
		_, err = w.After(m, z)
		require.NoError(t, err)
		require.NoError(t, z.wait())
		require.NoError(t, w.Close(t.Context()))
		settled, err = w.After(m, newAck(t))
		require.NoError(t, err)
		require.True(t, settled)
	})
}

// Close with a store that hangs ends with its ctx; what waited is unknown, and
// is told so; a second Close has nothing to do, and so has a concurrent one.
func TestCloseGivesUp(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		w := create(t, s, Options{FragmentBytes: 1 << 10, Over: func(error) { t.Error("Over on Close") }})
		rule := s.Add(blobtest.Fault{Kind: blobtest.Create, Late: true})
		a := newAppender(t, w)
		var acks []*ack
		for range 40 {
			x, _ := a.add(1, 400)
			acks = append(acks, x)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := make(chan error)
		go func() { done <- w.Close(ctx) }()
		require.ErrorIs(t, w.Close(ctx), context.DeadlineExceeded)
		for _, x := range acks {
			require.True(t, x.settled())
			require.ErrorIs(t, x.err, ErrClosed)
		}
		<-done
		require.NoError(t, w.Close(t.Context()))
		requireRoom(t, w)
		rule.Release() // they land late; nobody is told
		require.Equal(t, 8, s.Landed())
	})
}

// Who appends while the writer is closed is settled, and Close keeps to its
// ctx also where only those are in flight, or a cut is.
func TestCloseWithStragglers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		w := create(t, s, Options{CutFragments: 1, Commit: func(ctx context.Context, _ Cut) error { <-ctx.Done(); return ctx.Err() }})
		a := newAppender(t, w)
		x, _ := a.add(1, 100)
		require.NoError(t, x.wait())
		synctest.Wait() // the cut hangs
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		require.NoError(t, w.Close(ctx))
		require.Equal(t, time.Second, time.Since(start))
	})
	for range 50 {
		s := newStore()
		w := create(t, s, Options{})
		var settled, taken atomic.Int64
		done := make(chan struct{})
		go func() {
			defer close(done)
			a := newAppender(t, w)
			for {
				x := newAck(t)
				x.tell = func() { settled.Add(1) }
				if _, err := a.put(1, 10, x); err != nil {
					return
				}
				taken.Add(1)
			}
		}()
		require.NoError(t, w.Close(t.Context()))
		<-done
		require.Equal(t, taken.Load(), settled.Load())
		requireRoom(t, w)
	}
}

// A chain that is over gives no room, and who waits for some is told.
func TestReserveEndsWithTheChain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		w := create(t, s, Options{})
		s.mem.Put(chainKey(2), sealObject(2, fragment.KindSeal, testChain))
		s.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: chainKey(1), Hang: true})
		a := newAppender(t, w)
		a.add(1, 100)
		require.NoError(t, w.Reserve(t.Context(), roomBytes-1<<10))
		a.add(2, 100) // will find the seal
		told := make(chan error)
		go func() { told <- w.Reserve(t.Context(), 1<<20) }()
		require.ErrorIs(t, <-told, ErrSealed)
		w.Unreserve(roomBytes - 1<<10)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.NoError(t, w.Close(ctx))
		requireRoom(t, w)
	})
}

// A node that is closed and opened again registers the same metrics.
func TestMetricsTwice(t *testing.T) {
	r := prometheus.NewRegistry()
	a, b := NewMetrics(r), NewMetrics(r)
	a.created(10, time.Second, nil)
	b.created(10, time.Second, nil)
	b.created(10, time.Second, errors.New("no"))
	require.EqualValues(t, 1, a.Creates())
	families, err := r.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == "wpd_segment_creates_total" {
			require.EqualValues(t, 2, f.GetMetric()[0].GetCounter().GetValue())
			return
		}
	}
	t.Fatal("not registered")
}
