package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/client"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

// TestDialSubset: who dials one node gets to know the others, and goes on with
// them when that one dies: calls, batches, and reads where they were.
func TestDialSubset(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		w.forwards = true
		w.move("n1:1", 7)
		s := w.client("n1:1")
		w.stores(s, 7, 1)
		st, err := s.Read(t.Context(), api.ReadRequest{Log: 7, Follow: true})
		require.NoError(t, err)
		c, err := st.Next(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, c.From)
		require.Zero(t, w.dialled("n2:1")+w.dialled("n3:1"), "the others are not bothered")

		w.nodes[0].kill()
		w.nodes[1].kill()
		before := time.Now()
		c, err = st.Next(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 2, c.From, "where it was")
		_, err = s.Tail(t.Context(), 7, api.Level{})
		require.NoError(t, err)
		for seq := uint64(2); seq < 5; seq++ {
			w.stores(s, 7, seq)
		}
		require.Less(t, time.Since(before), time.Second)
		require.Equal(t, []uint64{2, 3, 4}, w.arrived("n3:1", 7))
		require.Equal(t, 1, w.nodes[2].count("read"))

		w.nodes[2].kill() // nobody is left
		_, err = s.Tail(t.Context(), 7, api.Level{})
		require.ErrorIs(t, err, api.ErrUnavailable)
		for _, h := range w.nodes {
			require.ErrorContains(t, err, h.addr+": connection refused")
		}
		w.nodes[1].start()
		before = time.Now()
		_, err = s.Tail(t.Context(), 7, api.Level{})
		require.NoError(t, err)
		require.Less(t, time.Since(before), 3*time.Second, "one that comes back is noticed")
		require.NoError(t, st.Close())
		require.NoError(t, s.Close())
		w.close()
	})
}

// TestDialTogether: a node that takes the connection and says nothing holds up
// nobody for long, neither at first nor later.
func TestDialTogether(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t, 2)
		c := w.config("silent:1", "n1:1", "n2:1")
		c.Dialer = func(ctx context.Context, addr string) (net.Conn, error) {
			if addr == "silent:1" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return w.dialer(ctx, addr)
		}
		before := time.Now()
		s := dial(t, c)
		require.Equal(t, 250*time.Millisecond, time.Since(before))
		w.nodes[0].kill()
		before = time.Now()
		_, err := s.Tail(t.Context(), 7, api.Level{})
		require.NoError(t, err)
		require.Less(t, time.Since(before), 500*time.Millisecond)
		require.Equal(t, 1, w.nodes[1].count("tail"))
		require.NoError(t, s.Close())
		w.close()
	})
}

// TestDialOtherCluster: the first that answers says which cluster it is; a node
// of another one is never used, and is told of only when nobody else is left.
func TestDialOtherCluster(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		w.forwards = true
		w.nodes[1].cluster = "c2"
		w.move("n2:1", 7)
		s := w.client("n1:1", "n2:1", "n3:1")
		_, err := s.OpenProducer(t.Context(), api.OpenRequest{Log: 7})
		require.NoError(t, err)
		for seq := uint64(1); seq < 4; seq++ {
			o := newOutcomes()
			require.NoError(t, o.append(t.Context(), s, 7, batch(t, seq, 1, 10)))
			o.wait(t, 1)
			if err := o.of(t, seq).err; err != nil { // it tried the other one
				require.ErrorIs(t, err, api.ErrUnavailable)
				require.ErrorContains(t, err, "another cluster, c2")
				w.stores(s, 7, seq)
			}
		}
		require.Empty(t, w.arrived("n2:1", 7))
		w.nodes[0].kill()
		_, err = s.Tail(t.Context(), 7, api.Level{})
		require.NoError(t, err)
		require.Equal(t, 1, w.nodes[2].count("tail"))
		require.Zero(t, w.nodes[1].count("tail"))
		w.nodes[2].kill()
		_, err = s.Tail(t.Context(), 7, api.Level{})
		require.ErrorIs(t, err, api.ErrUnavailable, "they may come back")
		require.ErrorContains(t, err, "another cluster, c2")
		require.NoError(t, s.Close())

		c := w.config("n2:1")
		c.Cluster = "c1"
		_, err = client.Dial(t.Context(), c)
		require.ErrorContains(t, err, "another cluster, c2")
		w.close()
	})
}

// TestWriterFollows: a Writer goes on while its log moves from node to node, and
// nodes die: nothing is lost, stored twice, or out of order.
func TestWriterFollows(t *testing.T) {
	for _, forwards := range []bool{false, true} {
		t.Run(fmt.Sprintf("forwards=%v", forwards), func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rnd := rand.New(rand.NewPCG(seed, 0))
			w := newTown(t, 3)
			w.forwards = forwards
			for _, h := range w.nodes {
				h.hints = true
			}
			w.move("n1:1", 7)
			s := w.client("n1:1", "n2:1", "n3:1")
			log, err := wpd.NewClient(s).Log(t.Context(), "log")
			require.NoError(t, err)
			writer, err := log.Writer(t.Context(), wpd.Linger(0))
			require.NoError(t, err)
			const moves, appenders = 50, 16
			over := make(chan struct{})
			var acked atomic.Int64
			var appending errgroup.Group
			for range appenders {
				appending.Go(func() error {
					for last := wpd.LSN(0); ; {
						select {
						case <-over:
							return nil
						default:
						}
						ack, err := writer.AppendBatch(t.Context(), []wpd.Entry{{Data: []byte("a")}, {Data: []byte("b")}})
						if err != nil || ack.To != ack.From+2 || ack.From <= last {
							return fmt.Errorf("LSNs [%d, %d) after %d: %w", ack.From, ack.To, last, err)
						}
						last = ack.From
						acked.Add(2)
					}
				})
			}
			for i := range moves {
				h := w.nodes[rnd.IntN(3)]
				w.move(h.addr, 7)
				if other := w.nodes[rnd.IntN(3)]; i%5 == 0 && other != h {
					other.kill()
					other.start()
				}
				w.mu.Lock()
				was := len(w.logs[7])
				w.mu.Unlock()
				require.Eventually(t, func() bool {
					w.mu.Lock()
					defer w.mu.Unlock()
					return len(w.logs[7]) > was+50
				}, 20*time.Second, 100*time.Microsecond)
			}
			close(over)
			require.NoError(t, appending.Wait())
			require.NoError(t, writer.Close())
			at := make(map[string]int)
			changes := 0
			w.mu.Lock()
			defer w.mu.Unlock()
			next := uint64(1)
			for _, x := range w.logs[7] {
				require.Equal(t, next, x.from)
				require.Equal(t, next, x.seq)
				next += uint64(x.count)
			}
			require.EqualValues(t, acked.Load()+1, next, "nothing is there that was not acknowledged, and nothing is missing")
			for i, a := range w.arrivals {
				if a.stored {
					at[a.addr]++
				}
				if i > 0 && w.arrivals[i-1].addr != a.addr {
					changes++
				}
			}
			require.GreaterOrEqual(t, len(at), 2, "%v", at) // which of the three, chance decides
			require.Greater(t, changes, 10)
			t.Logf("stored at %v, %d times elsewhere, %d batches in all, %d arrivals", at, changes, len(w.logs[7]), len(w.arrivals))
		})
	}
}

// TestUseless: a node that answers, but can do nothing, as one that is cut off
// from the others, is left for one that can, by calls and by batches.
func TestUseless(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		w.forwards = true
		w.move("n1:1", 7)
		s := w.client("n1:1")
		no := rpc.ToError(&api.BusyError{What: "there is no leader"})
		h := w.nodes[0]
		h.onTail = func(context.Context, *logv1.GetTailRequest) (*logv1.GetTailResponse, error) {
			return nil, rpc.Status(rpc.FromError(no))
		}
		h.onAppend = func(s appendStream) error {
			return receiveBatches(s, nil, func(b received) error {
				return send(s, &logv1.AppendResult{Request: b.Request, Error: no})
			})
		}
		_, err := s.Tail(t.Context(), 7, api.Level{})
		require.NoError(t, err)
		require.Equal(t, 1, w.nodes[1].count("tail")+w.nodes[2].count("tail"))
		require.NoError(t, s.Close())

		s = w.client("n1:1")
		for try := 1; ; try++ {
			o := newOutcomes()
			require.NoError(t, o.append(t.Context(), s, 7, batch(t, 1, 1, 10)))
			o.wait(t, 1)
			if o.of(t, 1).err == nil {
				break
			}
			require.Equal(t, rpc.FromError(no), o.of(t, 1).err)
			require.Less(t, try, 5)
		}
		require.NoError(t, s.Close())
		w.close()
	})
}

// TestHomeless: while nobody can be reached, batches are answered soon, and a
// node that comes back gets them, whichever it is.
func TestHomeless(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		w.forwards = true
		w.move("n1:1", 7)
		s := w.client("n1:1", "n2:1")
		w.stores(s, 7, 1)
		for _, h := range w.nodes {
			h.kill()
		}
		for seq := uint64(2); seq < 20; seq++ {
			before := time.Now()
			o := newOutcomes()
			require.NoError(t, o.append(t.Context(), s, 7, batch(t, seq, 1, 10)))
			o.wait(t, 1)
			err := o.of(t, seq).err
			require.True(t, errors.Is(err, api.ErrUnavailable) || seq == 2 && errors.Is(err, api.ErrUncertain), "%v", err)
			require.Less(t, time.Since(before), 2*time.Second)
		}
		time.Sleep(time.Hour)
		dials := w.dialled("n1:1")
		time.Sleep(time.Hour)
		require.Less(t, w.dialled("n1:1")-dials, 10, "who is not there is left alone while nothing is to be done")
		w.nodes[2].start()
		before := time.Now()
		for {
			o := newOutcomes()
			require.NoError(t, o.append(t.Context(), s, 7, batch(t, 2, 1, 10)))
			o.wait(t, 1)
			if o.of(t, 2).err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		require.Less(t, time.Since(before), 3*time.Second)
		require.True(t, slices.Contains(w.arrived("n3:1", 7), 2))
		require.NoError(t, s.Close())
		w.close()
	})
}
