package client_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/client"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

// TestRoutes: however a client hears who writes a log, its batches and the calls
// for its producers go there from then on, and everything else does not.
func TestRoutes(t *testing.T) {
	for name, hear := range map[string]func(*town, *client.Service) error{
		"open": func(w *town, s *client.Service) error {
			_, err := s.OpenProducer(w.t.Context(), api.OpenRequest{Log: 7})
			return err
		},
		"info":   func(w *town, s *client.Service) error { _, err := s.Info(w.t.Context(), 7); return err },
		"lookup": func(w *town, s *client.Service) error { _, err := s.Lookup(w.t.Context(), "log"); return err },
		"hint": func(w *town, s *client.Service) error {
			w.nodes[0].hints = true
			w.stores(s, 7, 1)
			return nil
		},
		"elsewhere": func(w *town, s *client.Service) error {
			w.forwards = false
			o := newOutcomes()
			err := o.append(w.t.Context(), s, 7, batch(w.t, 1, 1, 10))
			o.wait(w.t, 1)
			require.Equal(w.t, &api.ElsewhereError{Node: "writer", Addr: "n2:1"}, o.of(w.t, 1).err)
			require.ErrorIs(w.t, o.of(w.t, 1).err, api.ErrMoved)
			w.stores(s, 7, 1)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t, 2)
			w.forwards = true
			w.move("n2:1", 7)
			s := w.client("n1:1")
			require.NoError(t, hear(w, s))
			before := w.arrived("n1:1", 7)
			opens := w.nodes[0].count("open")
			next := uint64(1 + len(w.logs[7]))
			for seq := next; seq < next+3; seq++ {
				w.stores(s, 7, seq)
			}
			require.Equal(t, before, w.arrived("n1:1", 7), "nothing more came there")
			require.Contains(t, w.arrived("n2:1", 7), next+2)
			_, err := s.OpenProducer(t.Context(), api.OpenRequest{Log: 7})
			require.NoError(t, err)
			require.Equal(t, opens, w.nodes[0].count("open"))
			require.Equal(t, 1, w.nodes[1].count("open"))
			_, err = s.Tail(t.Context(), 7, api.Level{})
			require.NoError(t, err)
			require.Zero(t, w.nodes[1].count("tail"), "any node can say that")
			require.Equal(t, 1, w.dialled("n1:1"))
			require.Equal(t, 1, w.dialled("n2:1"))
		})
	}
}

// TestRouteHome: a node that writes a log, and was dialled by another name, is
// not connected to once more.
func TestRouteHome(t *testing.T) {
	w := newTown(t, 1)
	h := w.nodes[0]
	h.self = "advertised:1"
	h.claim[7] = h.self
	w.forwards = true
	s := w.client(h.addr)
	_, err := s.OpenProducer(t.Context(), api.OpenRequest{Log: 7})
	require.NoError(t, err)
	w.stores(s, 7, 1)
	require.Equal(t, 1, w.dialled(h.addr))
	require.Zero(t, w.dialled(h.self))
}

// TestRoutesOfLogs: the batches of each log go to its own node, all at the same
// time.
func TestRoutesOfLogs(t *testing.T) {
	w := newTown(t, 3)
	w.forwards = true
	s := w.client("n1:1")
	const logs, each = 30, 20
	for log := range uint64(logs) {
		w.move(w.nodes[log%3].addr, log+1)
		_, err := s.OpenProducer(t.Context(), api.OpenRequest{Log: fragment.LogID(log + 1)})
		require.NoError(t, err)
	}
	var all []*outcomes
	for log := range uint64(logs) {
		o := newOutcomes()
		all = append(all, o)
		for seq := range uint64(each) {
			require.NoError(t, o.append(t.Context(), s, fragment.LogID(log+1), batch(t, seq+1, 1, 1000)))
		}
	}
	for log, o := range all {
		o.wait(t, each)
		for seq := range uint64(each) {
			require.Equal(t, api.Ack{From: fragment.LSN(seq + 1), To: fragment.LSN(seq + 2), Time: 1}, o.of(t, seq+1).ack)
		}
		require.Len(t, w.arrived(w.nodes[log%3].addr, uint64(log+1)), each)
	}
	require.Len(t, w.arrivals, logs*each)
	for _, h := range w.nodes {
		require.Equal(t, 1, h.count("append"), "one stream to each node")
	}
}

// TestNoOvertaking: as long as batches of a log are unanswered at one node, later
// ones wait, although the log is written elsewhere by now. Another log's don't.
func TestNoOvertaking(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		w.forwards = true
		w.move("n1:1", 7)
		w.move("n2:1", 8)
		s := w.client("n1:1", "n2:1")
		open := w.nodes[0].hold()
		o := newOutcomes()
		for seq := range uint64(5) {
			require.NoError(t, o.append(t.Context(), s, 7, batch(t, seq+1, 1, 10)))
		}
		synctest.Wait()
		w.move("n2:1", 7)
		_, err := s.OpenProducer(t.Context(), api.OpenRequest{Log: 7})
		require.NoError(t, err)
		_, err = s.OpenProducer(t.Context(), api.OpenRequest{Log: 8})
		require.NoError(t, err)
		for seq := range uint64(5) {
			require.NoError(t, o.append(t.Context(), s, 7, batch(t, seq+6, 1, 10)))
		}
		w.stores(s, 8, 1)
		synctest.Wait()
		require.Empty(t, w.arrived("n2:1", 7), "they wait")
		open()
		o.wait(t, 10)
		require.Equal(t, []uint64{1, 2, 3, 4, 5}, w.arrived("n1:1", 7))
		require.Equal(t, []uint64{6, 7, 8, 9, 10}, w.arrived("n2:1", 7))
		require.True(t, slices.IsSorted(o.in))
		for seq := range uint64(10) {
			require.NoError(t, o.of(t, seq+1).err)
		}
		require.NoError(t, s.Close())
		w.close()
	})
}

// TestMovedMidPipeline: a log moves while many of its batches are under way.
// Those that the old node did not store are told so, in their order, and so are
// those that wait behind them; none of them comes to the new node before the
// first one is appended again. Then all of them do, identical and in order.
func TestMovedMidPipeline(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t, 2)
		w.move("n1:1", 7)
		s := w.client("n1:1")
		const stored, taken, more = 40, 100, 30
		moved := make(chan struct{})
		inner := w.nodes[0].onAppend
		w.nodes[0].onAppend = func(s appendStream) error {
			return receiveBatches(s, nil, func(b received) error {
				if b.Request == stored+1 {
					<-moved
				}
				r, _ := w.nodes[0].take(b)
				return send(s, r)
			})
		}
		o := newOutcomes()
		appendAll := func(from, to uint64) {
			for seq := from; seq <= to; seq++ {
				require.NoError(t, o.append(t.Context(), s, 7, batch(t, seq, 1, 10)))
			}
		}
		appendAll(1, taken)
		o.wait(t, stored)
		w.move("n2:1", 7)
		_, err := s.OpenProducer(t.Context(), api.OpenRequest{Log: 7}) // it hears of that
		require.NoError(t, err)
		appendAll(taken+1, taken+more)
		synctest.Wait()
		require.Len(t, o.in, stored)
		close(moved)
		o.wait(t, taken+more-stored)
		require.True(t, slices.IsSorted(o.in), "%v", o.in)
		for seq := uint64(1); seq <= taken+more; seq++ {
			if seq <= stored {
				require.NoError(t, o.of(t, seq).err)
			} else {
				require.Equal(t, &api.ElsewhereError{Node: "writer", Addr: "n2:1"}, o.of(t, seq).err, "batch %d", seq)
			}
		}
		require.Empty(t, w.arrived("n2:1", 7))
		w.nodes[0].onAppend = inner

		o = newOutcomes()
		appendAll(stored+1, taken+more)
		o.wait(t, taken+more-stored)
		require.True(t, slices.IsSorted(o.in))
		require.True(t, slices.IsSorted(w.arrived("n2:1", 7)))
		require.Len(t, w.arrived("n2:1", 7), taken+more-stored)
		require.Len(t, w.logs[7], taken+more)
		for i, x := range w.logs[7] {
			require.EqualValues(t, i+1, x.from)
			require.Equal(t, batch(t, uint64(i+1), 1, 10).Bytes(), x.data, "identical")
		}
		require.NoError(t, s.Close())
		w.close()
	})
}

// TestDeadWriter: a node that dies loses its routes: what was under way is
// uncertain, the rest goes by way of another node, and directly again once that
// one is back and somebody says so.
func TestDeadWriter(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		w.forwards = true
		w.move("n2:1", 7)
		s := w.client("n1:1")
		_, err := s.OpenProducer(t.Context(), api.OpenRequest{Log: 7})
		require.NoError(t, err)
		w.stores(s, 7, 1)
		open := w.nodes[1].hold()
		o := newOutcomes()
		require.NoError(t, o.append(t.Context(), s, 7, batch(t, 2, 1, 10)))
		synctest.Wait()
		w.nodes[1].kill()
		open()
		o.wait(t, 1)
		require.ErrorIs(t, o.of(t, 2).err, api.ErrUncertain)

		// The first to go there finds out, and comes back at once.
		before := time.Now()
		seq := uint64(2)
		for ; seq < 4; seq++ {
			o := newOutcomes()
			require.NoError(t, o.append(t.Context(), s, 7, batch(t, seq, 1, 10)))
			o.wait(t, 1)
			if err := o.of(t, seq).err; err != nil {
				require.ErrorIs(t, err, api.ErrUnavailable)
				require.NotErrorIs(t, err, api.ErrUncertain)
				require.ErrorContains(t, err, "connection refused")
				w.stores(s, 7, seq)
			}
		}
		require.Less(t, time.Since(before), time.Second)
		time.Sleep(20 * time.Second)
		dialled := w.dialled("n2:1")
		w.stores(s, 7, 4)
		require.Equal(t, dialled, w.dialled("n2:1"), "not before somebody says so")
		_, err = s.OpenProducer(t.Context(), api.OpenRequest{Log: 7})
		require.NoError(t, err)
		o = newOutcomes() // it tries once more
		require.NoError(t, o.append(t.Context(), s, 7, batch(t, 5, 1, 10)))
		o.wait(t, 1)
		require.EqualError(t, o.of(t, 5).err, "unavailable: n2:1: connection refused")
		w.stores(s, 7, 5)
		require.Equal(t, []uint64{2, 3, 4, 5}, w.arrived("n1:1", 7))

		w.nodes[1].start()
		time.Sleep(10 * time.Second)
		_, err = s.OpenProducer(t.Context(), api.OpenRequest{Log: 7})
		require.NoError(t, err)
		w.stores(s, 7, 6)
		require.Equal(t, []uint64{1, 6}, w.arrived("n2:1", 7))
		require.NoError(t, s.Close())
		w.close()
	})
}

// TestWrongHints: a client that is sent to where nobody is, to another cluster,
// back to who sent it, or nowhere, asks again, and is served.
func TestWrongHints(t *testing.T) {
	for name, claim := range map[string]string{
		"nobody": "n9:1", "garbage": "somewhere", "itself": "n1:1", "nowhere": "", "another cluster": "n2:1",
		"a long one": "n" + string(make([]byte, 1000)) + ":1",
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newTown(t, 3)
				w.nodes[1].cluster = "c2"
				w.move("n3:1", 7)
				w.nodes[0].claim[7] = claim
				s := w.client("n1:1")
				var opened atomic.Bool
				go func() { // it finds out what is so after a while
					time.Sleep(3 * time.Second)
					w.mu.Lock()
					defer w.mu.Unlock()
					delete(w.nodes[0].claim, 7)
					if opened.Load() {
						t.Error("it was opened before anybody could know where")
					}
				}()
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				_, err := s.OpenProducer(ctx, api.OpenRequest{Log: 7})
				require.NoError(t, err)
				opened.Store(true)
				require.Less(t, w.nodes[0].count("open"), 60, "with pauses")
				w.stores(s, 7, 1)
				require.Equal(t, []uint64{1}, w.arrived("n3:1", 7))

				w.nodes[0].claim[8] = claim
				w.move("n1:1", 8)
				for range 5 {
					o := newOutcomes()
					require.NoError(t, o.append(ctx, s, 8, batch(t, 1, 1, 10)))
					o.wait(t, 1)
					if o.of(t, 1).err == nil {
						break
					}
					require.True(t, errors.Is(o.of(t, 1).err, api.ErrMoved) || errors.Is(o.of(t, 1).err, api.ErrUnavailable), "%v", o.of(t, 1).err)
					require.NotErrorIs(t, o.of(t, 1).err, api.ErrUncertain)
				}
				w.mu.Lock()
				delete(w.nodes[0].claim, 8)
				w.mu.Unlock()
				time.Sleep(10 * time.Second)
				w.stores(s, 8, 1)
				require.NoError(t, s.Close())
				w.close()
			})
		})
	}
}

// TestLoop: two nodes point at each other. Every call ends by its deadline, or
// after half a minute, and says what is wrong; the nodes are not asked as fast as
// they answer.
func TestLoop(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t, 2)
		w.nodes[0].claim[7], w.nodes[1].claim[7] = "n2:1", "n1:1"
		s := w.client("n1:1")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		before := time.Now()
		_, err := s.OpenProducer(ctx, api.OpenRequest{Log: 7, ID: 3, Epoch: 5})
		require.ErrorIs(t, err, api.ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "no node says that it writes the log: the one at n")
		require.ErrorContains(t, err, "the log is written by node writer, at n")
		require.Equal(t, 5*time.Second, time.Since(before))
		require.Less(t, w.nodes[0].count("open")+w.nodes[1].count("open"), 50)

		before = time.Now()
		_, err = s.OpenProducer(t.Context(), api.OpenRequest{Log: 7})
		require.ErrorIs(t, err, api.ErrUnavailable)
		require.InDelta(t, 31, time.Since(before).Seconds(), 2)
		require.Less(t, w.nodes[0].count("open")+w.nodes[1].count("open"), 200)

		// A batch is answered at once: who appended it makes the pauses.
		for range 10 {
			o := newOutcomes()
			require.NoError(t, o.append(t.Context(), s, 7, batch(t, 1, 1, 10)))
			o.wait(t, 1)
			require.ErrorIs(t, o.of(t, 1).err, api.ErrMoved)
		}
		require.NotEmpty(t, w.arrived("n1:1", 7))
		require.NotEmpty(t, w.arrived("n2:1", 7))
		require.NoError(t, s.Close())
		w.close()
	})
}

// TestClosing: a node that is about to stop is left for another one, by calls
// and by batches.
func TestClosing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t, 2)
		w.forwards = true
		w.move("n1:1", 7)
		s := w.client("n1:1")
		w.stores(s, 7, 1)
		closing := rpc.Status(api.ErrClosed)
		h := w.nodes[0]
		h.onHello = func(context.Context) error { return closing }
		h.onTail = func(context.Context, *logv1.GetTailRequest) (*logv1.GetTailResponse, error) { return nil, closing }
		before := time.Now()
		_, err := s.Tail(t.Context(), 7, api.Level{})
		require.NoError(t, err)
		require.Less(t, time.Since(before), 100*time.Millisecond)
		require.Equal(t, 1, w.nodes[1].count("tail"))
		w.stores(s, 7, 2)
		require.Equal(t, []uint64{2}, w.arrived("n2:1", 7))
		require.NoError(t, s.Close())
		w.close()
	})
}

// TestStuckWriter: a node was paused, and keeps its connections; another one has
// taken over. What the first one did not answer is uncertain soon, and goes to
// the other.
func TestStuckWriter(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		w.forwards = true
		w.move("n1:1", 7, 8)
		s := w.client("n1:1", "n2:1", "n3:1")
		w.stores(s, 7, 1)
		w.nodes[0].freeze()
		o := newOutcomes()
		require.NoError(t, o.append(t.Context(), s, 7, batch(t, 2, 1, 10)))
		require.NoError(t, o.append(t.Context(), s, 8, batch(t, 1, 1, 10)))
		time.Sleep(4 * time.Second)
		require.Len(t, o.in, 0, "it may only be slow")
		require.Positive(t, w.nodes[1].count("writer"))
		w.move("n3:1", 7, 8)
		before := time.Now()
		o.wait(t, 2)
		require.Less(t, time.Since(before), 3*time.Second)
		require.ErrorIs(t, o.of(t, 1).err, api.ErrUncertain)
		require.ErrorIs(t, o.of(t, 2).err, api.ErrUncertain)
		require.ErrorContains(t, o.of(t, 2).err, "another one writes the log now")
		w.stores(s, 7, 2)
		w.stores(s, 8, 1)
		require.Less(t, time.Since(before), 3*time.Second)
		require.Empty(t, w.arrived("n1:1", 8))
		require.NoError(t, s.Close())
		w.close()
	})
}

// TestStuckAmongSilent: another node is as silent as the stuck writer, and a third
// is cut off, and takes that one for the writer still: who knows better is heard
// all the same.
func TestStuckAmongSilent(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		for i := 1; i < 5; i++ { // whichever comes first
			w := newTown(t, 5)
			w.forwards = true
			w.move("n1:1", 7)
			s := w.client("n1:1")
			w.stores(s, 7, 1)
			knows := w.nodes[i]
			for _, h := range w.nodes[1:] {
				if h != knows {
					h.claim[7] = "n1:1"
				}
			}
			w.nodes[0].freeze()
			w.nodes[1+i%4].freeze()
			o := newOutcomes()
			require.NoError(t, o.append(t.Context(), s, 7, batch(t, 2, 1, 10)))
			w.move(knows.addr, 7)
			before := time.Now()
			o.wait(t, 1)
			require.Less(t, time.Since(before), 4*time.Second)
			require.ErrorContains(t, o.of(t, 2).err, "another one writes the log now")
			require.NoError(t, s.Close())
			w.close()
		}
	})
}

// TestSlowWriter: a node that answers late, and still writes the log, is waited
// for.
func TestSlowWriter(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t, 3)
		w.forwards = true
		w.move("n1:1", 7)
		s := w.client("n1:1", "n2:1")
		open := w.nodes[0].hold()
		o := newOutcomes()
		require.NoError(t, o.append(t.Context(), s, 7, batch(t, 1, 1, 10)))
		time.Sleep(time.Minute)
		require.Empty(t, o.in)
		open()
		o.wait(t, 1)
		require.NoError(t, o.of(t, 1).err)
		require.Equal(t, 1, w.nodes[0].count("append"))
		require.NoError(t, s.Close())
		w.close()
	})
}

// TestCloseHeld: also the batches that wait for others are answered once when
// the client is closed, and in order.
func TestCloseHeld(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t, 2)
		w.forwards = true
		w.move("n1:1", 7)
		s := w.client("n1:1")
		open := w.nodes[0].hold()
		o := newOutcomes()
		require.NoError(t, o.append(t.Context(), s, 7, batch(t, 1, 1, 10)))
		synctest.Wait()
		w.move("n2:1", 7)
		_, err := s.OpenProducer(t.Context(), api.OpenRequest{Log: 7})
		require.NoError(t, err)
		for seq := range uint64(3) {
			require.NoError(t, o.append(t.Context(), s, 7, batch(t, seq+2, 1, 10)))
		}
		require.NoError(t, s.Close())
		require.Equal(t, []uint64{1, 2, 3, 4}, o.in)
		require.ErrorIs(t, o.of(t, 1).err, api.ErrUncertain)
		for seq := range uint64(3) {
			require.ErrorIs(t, o.of(t, seq+2).err, api.ErrClosed)
		}
		require.Empty(t, w.arrived("n2:1", 7))
		open()
		w.close()
	})
}

// TestForwarded: a node's client for the calls of others says what it is, on
// its connection and with each call, keeps to its node, and does nothing twice.
func TestForwarded(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t, 2)
		w.move("n2:1", 7)
		c := w.config("n1:1")
		c.Forwarded, c.Cluster = true, "c1"
		c.Dialer = func(ctx context.Context, addr string) (net.Conn, error) {
			conn, err := w.dialer(ctx, addr)
			return &begun{Conn: conn, t: t}, err
		}
		h := w.nodes[0]
		seen := make(chan string, 10)
		open, tails := h.onOpen, 0
		h.onOpen = func(ctx context.Context, r *logv1.OpenProducerRequest) (*logv1.OpenProducerResponse, error) {
			seen <- incoming(ctx, rpc.MetadataForwarded)
			return open(ctx, r)
		}
		h.onTail = func(context.Context, *logv1.GetTailRequest) (*logv1.GetTailResponse, error) {
			tails++
			return nil, rpc.Status(api.ErrUnavailable)
		}
		s := dial(t, c)
		_, err := s.OpenProducer(t.Context(), api.OpenRequest{Log: 7})
		require.Equal(t, &api.ElsewhereError{Node: "writer", Addr: "n2:1"}, err)
		require.Equal(t, "1", <-seen)
		o := newOutcomes()
		for range 2 {
			require.NoError(t, o.append(t.Context(), s, 7, batch(t, 1, 1, 10)))
		}
		o.wait(t, 2)
		require.Len(t, w.arrived("n1:1", 7), 2)
		_, err = s.Tail(t.Context(), 7, api.Level{})
		require.ErrorIs(t, err, api.ErrUnavailable)
		require.Equal(t, 1, tails)
		h.kill()
		_, err = s.Tail(t.Context(), 7, api.Level{})
		require.ErrorIs(t, err, api.ErrUnavailable)
		require.Zero(t, w.dialled("n2:1"))
		require.NoError(t, s.Close())

		c.Addrs, c.Cluster = []string{"n2:1"}, "c9"
		_, err = client.Dial(t.Context(), c)
		wrong, ok := errors.AsType[*api.WrongClusterError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, "c1", wrong.Have)
		w.close()
	})
}

// begun takes off what a node says first on a connection, as a server does.
type begun struct {
	net.Conn
	t    testing.TB
	done bool
}

func (b *begun) Write(p []byte) (int, error) {
	if !b.done {
		b.done = true
		require.Equal(b.t, rpc.PeerPreamble, string(p))
		return len(p), nil
	}
	return b.Conn.Write(p)
}
