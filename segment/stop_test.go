package segment

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// A writer that is stopped starts nothing more. What is in flight is settled by
// what comes of it, and only behind that what never was.
func TestStop(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		var over atomic.Int64
		w := create(t, s, Options{FragmentBytes: 1 << 10, Over: func(err error) {
			require.ErrorIs(t, err, ErrSealed)
			over.Add(1)
		}})
		g := hold(s)
		a := newAppender(t, w)
		var acks []*ack
		var in []uint64
		for range 30 {
			x, n := a.add(1, 400)
			acks, in = append(acks, x), append(in, n)
		}
		synctest.Wait()
		flying := len(g.held())
		require.EqualValues(t, testChain.Window, flying)
		w.Stop()
		w.Stop()
		for n := flying; n > 0; n-- { // any order
			for i, x := range acks {
				require.False(t, in[i] > uint64(flying) && x.settled(), "before those in flight are known")
			}
			g.pass(uint64(n))
			synctest.Wait()
		}
		for i, x := range acks {
			if in[i] <= uint64(flying) {
				require.NoError(t, x.wait())
			} else {
				require.ErrorIs(t, x.wait(), ErrSealed)
			}
		}
		require.Len(t, g.started, flying)
		_, err := a.put(1, 400, newAck(t))
		require.ErrorIs(t, err, ErrSealed)
		require.ErrorIs(t, w.Flush(t.Context()), ErrSealed)
		require.NoError(t, w.Close(t.Context()))
		require.EqualValues(t, 1, over.Load())
		requireRoom(t, w)
	})
}

// The committed seal settles what the store does not answer: what it counts is
// acknowledged, in order, and told as durable; the rest is not.
func TestSealedAt(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		bubble.Test(t, func(t *testing.T) {
			s := newStore()
			var durable []uint64
			w := create(t, s, Options{FragmentBytes: 1 << 10, Durable: func(f *fragment.Frozen) { durable = append(durable, f.Head.N) }})
			// 2 lands, and nobody hears of it; 3 and 4 go nowhere.
			s.Hook(func(ctx context.Context, op blobtest.Op) error {
				_, n, _ := fragment.ParseChainKey(op.Key)
				if op.Kind != blobtest.Create || n < 2 {
					return nil
				}
				if n == 2 {
					require.NoError(t, s.Below().Create(ctx, op.Key, op.Parts))
				}
				<-ctx.Done()
				return ctx.Err()
			})
			a := newAppender(t, w)
			var acks []*ack
			var in []uint64
			for range 8 {
				x, n := a.add(1, 400)
				acks, in = append(acks, x), append(in, n)
			}
			time.Sleep(time.Second)
			require.EqualValues(t, 1, w.Durable())
			if stopped {
				w.Stop()
			}
			synctest.Wait()
			for i, x := range acks {
				require.Equal(t, in[i] == 1, x.settled())
			}
			w.SealedAt(3)
			for i, x := range acks {
				if in[i] < 3 {
					require.NoError(t, x.wait())
				} else {
					require.ErrorIs(t, x.wait(), ErrSealed)
				}
			}
			require.Equal(t, []uint64{1, 2}, durable)
			require.Len(t, w.Rows(Stay{Log: 1, Attachment: 1}, 1, 10), 2)
			require.NoError(t, w.Close(t.Context()))
			requireRoom(t, w)
		})
	}
}

// An intruder in a fragment's place is no seal, wherever the committed one
// stands.
func TestSealedAtBehindAnIntruder(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		w := create(t, s, Options{})
		s.mem.Put(chainKey(1), []byte("rubbish"))
		x, _ := newAppender(t, w).add(1, 100)
		_, foreign := errors.AsType[*ForeignError](x.wait())
		require.True(t, foreign)
		w.SealedAt(2)
		require.Zero(t, w.Durable())
		require.Error(t, w.Close(t.Context()))
	})
}

// A writer whose lease has lapsed finds the seal in the bucket, if something
// waits for it.
func TestLook(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newStore()
		var lapsed atomic.Bool
		over := make(chan error, 1)
		w := create(t, s, Options{Lease: func() bool { return !lapsed.Load() }, Over: func(err error) { over <- err }})
		a := newAppender(t, w)
		first, _ := a.add(1, 100)
		require.NoError(t, first.wait())
		lapsed.Store(true)
		reads := func() int { return s.Count(blobtest.Read) }

		before := reads()
		require.NoError(t, w.Look(t.Context()))
		require.Equal(t, before, reads(), "nothing waits")
		x, _ := a.add(1, 100)
		require.NoError(t, w.Look(t.Context()))
		require.Greater(t, reads(), before)
		s.mem.Put(chainKey(3), sealObject(3, fragment.KindSeal, testChain)) // not where the next one would be
		other := testChain
		other.Epoch++
		s.mem.Put(chainKey(2), sealObject(2, fragment.KindSeal, other))
		require.NoError(t, w.Look(t.Context()))
		rule := s.Add(blobtest.Fault{Kind: blobtest.Read, Before: errors.New("503")})
		require.ErrorContains(t, w.Look(t.Context()), "503")
		rule.Remove()
		synctest.Wait()
		require.False(t, x.settled())

		s.mem.Put(chainKey(2), sealObject(2, fragment.KindSeal, testChain))
		require.NoError(t, w.Look(t.Context()))
		require.ErrorIs(t, x.wait(), ErrSealed)
		require.ErrorIs(t, <-over, ErrSealed)
		before = reads()
		require.NoError(t, w.Look(t.Context()))
		require.Equal(t, before, reads(), "it is over")
		require.NoError(t, w.Close(t.Context()))
		requireRoom(t, w)
	})
}
