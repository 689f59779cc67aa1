package wal_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// requests counts the requests that a node has made of its store.
func (m *member) requests() int { return m.faults.Count(blobtest.Any) }

// writer appends words to a log, one batch each.
type writer struct {
	m   *member
	id  fragment.LogID
	o   api.Opened
	seq uint64
	all []string
}

func (m *member) writer(id fragment.LogID) *writer {
	o := m.producer(id, "w")
	return &writer{m: m, id: id, o: o, seq: o.Last}
}

// at goes on at another node.
func (w *writer) at(m *member) {
	w.m, w.o = m, m.producer(w.id, "w")
	w.seq = w.o.Last
}

// put appends one word, and returns where it is.
func (w *writer) put(word string) fragment.LSN {
	w.m.g.Helper()
	w.seq++
	x := w.m.send(w.id, batch(w.o, w.seq, word))
	<-x.done
	require.NoError(w.m.g, x.err)
	w.all = append(w.all, word)
	return x.ack.From
}

func (w *writer) puts(n int) {
	for range n {
		w.put(fmt.Sprintf("word %d", len(w.all)))
	}
}

// words reads what a stream has next, up to n entries; it fails if it takes
// longer than patience.
func words(t testing.TB, st api.Stream, n int, patience time.Duration) (all []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for len(all) < n {
		c, err := st.Next(ctx)
		if err == io.EOF {
			return all
		}
		require.NoError(t, err)
		all = append(all, chunkWords(t, c)...)
	}
	return all
}

func chunkWords(t testing.TB, c api.Chunk) (all []string) {
	t.Helper()
	for _, b := range c.Batches {
		entries, err := b.Entries()
		require.NoError(t, err)
		for e, ok := entries.Next(); ok; e, ok = entries.Next() {
			all = append(all, string(e.Data))
		}
	}
	return all
}

func (m *member) follow(id fragment.LogID, level api.Level) api.Stream {
	m.g.Helper()
	st, err := m.Read(m.g.Context(), api.ReadRequest{Log: id, Follow: true, Level: level})
	require.NoError(m.g, err)
	return st
}

// all reads a log to the tail.
func (m *member) all(id fragment.LogID, level api.Level) []string {
	m.g.Helper()
	st, err := m.Read(m.g.Context(), api.ReadRequest{Log: id, Level: level})
	require.NoError(m.g, err)
	defer st.Close() //nolint:errcheck // it was only read
	return words(m.g, st, math.MaxInt, time.Minute)
}

// TestReadsAnywhere: what one node writes, another gives to its readers as soon
// as it is durable, and tells about; and so on, wherever the log goes.
func TestReadsAnywhere(t *testing.T) {
	inGroup(t, func(g *group) {
		wires := g.wires
		a, b, c := g.node("a"), g.node("b"), g.node("c")
		id := g.create("x", api.LogConfig{})
		st := b.follow(id, api.Level{})
		defer st.Close() //nolint:errcheck // it was only read
		w := a.writer(id)
		for i := range 20 {
			w.put(fmt.Sprintf("word %d", i))
			require.Equal(g, w.all[i:], words(g, st, 1, 10*time.Millisecond))
		}
		ctx := g.Context()
		tail, age, err := b.TailAge(ctx, id, api.Level{AtLeast: 20})
		require.NoError(g, err)
		require.EqualValues(g, 21, tail)
		require.Less(g, age, 10*time.Second)
		there, err := a.Info(ctx, id)
		require.NoError(g, err)
		for _, m := range []*member{b, c} {
			here, err := m.Info(ctx, id)
			require.NoError(g, err)
			require.Equal(g, there, here)
			require.Equal(g, "a", here.Writer)
			list, err := m.List(ctx, "", "", 0)
			require.NoError(g, err)
			require.Equal(g, []api.LogInfo{there}, list)
			p, err := m.Producer(ctx, id, "w")
			require.NoError(g, err)
			want, err := a.Producer(ctx, id, "w")
			require.NoError(g, err)
			require.Equal(g, want, p)
			ps, err := m.Producers(ctx, id, "", 0)
			require.NoError(g, err)
			require.Equal(g, []api.ProducerInfo{want}, ps)
			_, err = m.Producer(ctx, id, "nobody")
			require.ErrorIs(g, err, api.ErrNotFound)
			require.Equal(g, w.all, m.all(id, api.Level{}))
		}
		last, err := c.Read(ctx, api.ReadRequest{Log: id, From: api.FromLast, Value: 3})
		require.NoError(g, err)
		require.Equal(g, w.all[17:], words(g, last, 99, time.Second))
		require.NoError(g, last.Close())
		_, err = c.Read(ctx, api.ReadRequest{Log: id, From: api.FromLSN, Value: 30})
		var beyond *api.BeyondTailError
		require.ErrorAs(g, err, &beyond)

		// It moves: handed over, taken over, and back.
		require.NoError(g, a.Release(ctx, id))
		w.at(c)
		w.puts(5)
		require.Equal(g, w.all[20:], words(g, st, 5, time.Second))
		g.takeOver("c", b)
		w.at(a)
		w.puts(5)
		require.Equal(g, w.all[25:], words(g, st, 5, 10*time.Second))
		require.NoError(g, a.Release(ctx, id))
		w.at(b)
		w.puts(5)
		require.Equal(g, w.all[30:], words(g, st, 5, time.Second))
		require.NoError(g, b.Release(ctx, id))
		w.at(a)
		w.puts(5)
		require.Equal(g, w.all[35:], words(g, st, 5, time.Second))
		for _, m := range g.alive() {
			require.Equal(g, w.all, m.all(id, api.Level{}))
			require.Equal(g, w.all, m.all(id, api.Level{Linearizable: true}))
		}

		// Trimmed and deleted by another node.
		old, err := b.Read(ctx, api.ReadRequest{Log: id})
		require.NoError(g, err)
		require.NoError(g, c.Trim(ctx, id, 10))
		_, err = old.Next(ctx)
		var trimmed *api.TrimmedError
		require.ErrorAs(g, err, &trimmed)
		require.NoError(g, old.Close())
		require.Equal(g, w.all[9:], b.all(id, api.Level{}))
		require.ErrorAs(g, c.Trim(ctx, id, 99), &beyond)
		deleted := make(chan error)
		go func() {
			_, err := st.Next(ctx)
			deleted <- err
		}()
		synctest.Wait()
		require.NoError(g, a.Delete(ctx, id))
		require.ErrorIs(g, <-deleted, api.ErrDeleted)
		_, err = b.Tail(ctx, id, api.Level{})
		require.ErrorIs(g, err, api.ErrDeleted)
		feeds, _, _ := wires.counts()
		require.Less(g, feeds, 20)
	}, "a", "b", "c")
}

// TestWriterDead: while the writer of a log is dead and nobody has replaced it,
// everything durable stays readable, for readers that were there before and for
// new ones, also to the linearizable; then they go on.
func TestWriterDead(t *testing.T) {
	for _, warm := range []bool{true, false} {
		inGroup(t, func(g *group) {
			wires := g.wires
			a, b, c := g.node("a"), g.node("b"), g.node("c")
			id := g.create("x", api.LogConfig{})
			w := a.writer(id)
			w.puts(30)
			var st api.Stream
			if warm {
				st = b.follow(id, api.Level{})
				require.Equal(g, w.all, words(g, st, 30, time.Second))
				wires.hold("b", "a")
				w.puts(3) // told by nobody
			}
			a.crash()
			if !warm {
				st = b.follow(id, api.Level{})
				require.Equal(g, w.all, words(g, st, 30, time.Second))
			} else {
				require.Equal(g, w.all[30:], words(g, st, 3, time.Second), "while somebody waits, the bucket tells")
			}
			require.Equal(g, w.all, c.all(id, api.Level{}))
			require.Equal(g, w.all, c.all(id, api.Level{Linearizable: true}))
			tail, age, err := c.TailAge(g.Context(), id, api.Level{Linearizable: true, MaxLag: time.Second})
			require.NoError(g, err)
			require.EqualValues(g, len(w.all)+1, tail)
			require.Less(g, age, time.Second)
			p, err := c.Producer(g.Context(), id, "w")
			require.NoError(g, err)
			require.EqualValues(g, len(w.all), p.Last)

			g.takeOver("a", b)
			w.at(c)
			n := len(w.all)
			w.puts(5)
			require.Equal(g, w.all[n:], words(g, st, 5, 10*time.Second))
			require.NoError(g, st.Close())
		}, "a", "b", "c")
	}
}

// TestIdleFollower: a follower of a log that is not written makes no request in
// ten minutes, and gets only a message every ten seconds; what nobody reads is
// not followed for long.
func TestIdleFollower(t *testing.T) {
	inGroup(t, func(g *group) {
		wires := g.wires
		a, b := g.node("a"), g.node("b")
		id := g.create("x", api.LogConfig{})
		w := a.writer(id)
		w.puts(3)
		st := b.follow(id, api.Level{})
		require.Equal(g, w.all, words(g, st, 3, time.Second))
		time.Sleep(time.Minute)
		synctest.Wait()
		feeds, messages, asked := wires.counts()
		before, theirs := b.requests(), a.requests()
		ctx, cancel := context.WithTimeout(g.Context(), 10*time.Minute)
		_, err := st.Next(ctx)
		cancel()
		require.ErrorIs(g, err, context.DeadlineExceeded)
		require.Equal(g, before, b.requests())
		require.Equal(g, theirs, a.requests())
		f, m, k := wires.counts()
		require.Equal(g, feeds, f)
		require.Equal(g, asked, k)
		require.InDelta(g, 60, m-messages, 1)
		require.EqualValues(g, 1, feeds)

		w.puts(1)
		require.Equal(g, w.all[3:], words(g, st, 1, 10*time.Millisecond), "and it is there at once")
		require.NoError(g, st.Close())
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		_, messages, _ = wires.counts()
		time.Sleep(10 * time.Minute)
		_, m, _ = wires.counts()
		require.Equal(g, messages, m, "nobody reads, nobody follows")
		require.Equal(g, w.all, b.all(id, api.Level{}))
	}, "a", "b")
}

// aged is a view that knows when the leader last heard of the nodes.
type aged struct {
	*view
	mu sync.Mutex
	at map[string]time.Time // zero: it does not know
}

func (v *aged) Ages(node string) (time.Duration, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	at := v.at[node]
	if at.IsZero() {
		return v.view.Ages(node)
	}
	return time.Since(at), at.Before(time.Now().Add(time.Second))
}

func (v *aged) heard(node string, at time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.at[node] = at
}

// TestLag: a follower says how old what it knows may be: by what its feed told
// last, and by how long its writer's lease is known to have been held. Past
// MaxLag it asks the writer, and if that does not answer, the bucket; if that
// does not help either, it is an error.
func TestLag(t *testing.T) {
	inGroup(t, func(g *group) {
		wires, a := g.wires, g.node("a")
		var meta *aged
		b := g.start("b", func(c *wal.Config) {
			meta = &aged{view: c.Meta.(*view), at: make(map[string]time.Time)}
			c.Meta = meta
		})
		id := g.create("x", api.LogConfig{})
		w := a.writer(id)
		w.puts(3)
		ctx := g.Context()
		age := func() time.Duration {
			_, age, err := b.TailAge(ctx, id, api.Level{})
			require.NoError(g, err)
			return age
		}
		st := b.follow(id, api.Level{})
		defer st.Close() //nolint:errcheck // it was only read
		words(g, st, 3, time.Second)
		require.Less(g, age(), time.Second)
		time.Sleep(7 * time.Second)
		require.InDelta(g, 7*time.Second, age(), float64(100*time.Millisecond))
		time.Sleep(3500 * time.Millisecond)
		require.InDelta(g, time.Second/2, age(), float64(100*time.Millisecond), "a keepalive came")

		// The feed goes on, but the leader has not heard of the writer.
		since := time.Now().Add(-20 * time.Second)
		meta.heard(identity("a"), since)
		time.Sleep(10 * time.Second)
		require.Less(g, age(), 11*time.Second, "it was surely current when that was not known")
		time.Sleep(30 * time.Second)
		require.Greater(g, age(), 30*time.Second)
		_, _, asked := wires.counts()
		_, fresh, err := b.TailAge(ctx, id, api.Level{MaxLag: time.Second})
		require.NoError(g, err)
		require.LessOrEqual(g, fresh, time.Second)
		_, _, k := wires.counts()
		require.Equal(g, asked+1, k, "the writer was asked")
		meta.heard(identity("a"), time.Time{})

		// Nothing comes any more, and nothing is said of it.
		wires.hold("b", "a")
		time.Sleep(15 * time.Second)
		require.InDelta(g, 15*time.Second, age(), float64(11*time.Second))
		wires.cut("b", "a")
		_, fresh, err = b.TailAge(ctx, id, api.Level{MaxLag: time.Second})
		require.NoError(g, err)
		require.LessOrEqual(g, fresh, time.Second, "the bucket tells")
		rule := b.faults.Add(blobtest.Fault{Kind: blobtest.Read, Hang: true})
		time.Sleep(5 * time.Second)
		lag := func(err error) {
			g.Helper()
			var e *api.LagError
			require.ErrorAs(g, err, &e)
			require.Equal(g, time.Second, e.MaxLag)
			require.GreaterOrEqual(g, e.Age, 5*time.Second)
			require.ErrorIs(g, err, api.ErrUnavailable)
		}
		_, err = b.Tail(ctx, id, api.Level{MaxLag: time.Second})
		lag(err)
		_, err = b.Read(ctx, api.ReadRequest{Log: id, Level: api.Level{MaxLag: time.Second}})
		lag(err)
		require.Positive(g, rule.Hits())
		require.GreaterOrEqual(g, age(), 5*time.Second, "without a bound it goes on")
		rule.Release()
		rule.Remove()
		wires.mend()

		// A stream that waits at the tail says so, too.
		strict := b.follow(id, api.Level{MaxLag: time.Second})
		defer strict.Close() //nolint:errcheck // it was only read
		words(g, strict, 3, 30*time.Second)
		idle, cancel := context.WithTimeout(ctx, time.Minute)
		_, err = strict.Next(idle)
		cancel()
		require.ErrorIs(g, err, context.DeadlineExceeded, "as long as somebody answers")
		rule = b.faults.Add(blobtest.Fault{Kind: blobtest.Read, Hang: true})
		time.AfterFunc(5*time.Second, func() { wires.cut("b", "a") })
		begun := time.Now()
		_, err = strict.Next(ctx)
		var e *api.LagError
		require.ErrorAs(g, err, &e)
		require.Greater(g, time.Since(begun), 5*time.Second)
		require.Less(g, time.Since(begun), 10*time.Second)
		rule.Release()

		// The writer itself is never behind, unless its lease has lapsed.
		_, own, err := a.TailAge(ctx, id, api.Level{MaxLag: time.Nanosecond})
		require.NoError(g, err)
		require.Zero(g, own)
	}, "a")
}

// TestAtLeast: a follower waits until it has an LSN, by its feed or from the
// bucket.
func TestAtLeast(t *testing.T) {
	inGroup(t, func(g *group) {
		wires := g.wires
		a, b := g.node("a"), g.node("b")
		id := g.create("x", api.LogConfig{})
		w := a.writer(id)
		w.puts(2)
		_, err := b.Tail(g.Context(), id, api.Level{})
		require.NoError(g, err)
		wires.hold("b", "a")
		w.puts(1)
		ctx, cancel := context.WithTimeout(g.Context(), time.Second)
		defer cancel()
		_, err = b.Tail(ctx, id, api.Level{AtLeast: 3})
		var beyond *api.BeyondTailError
		require.ErrorAs(g, err, &beyond)
		require.Equal(g, api.BeyondTailError{LSN: 3, Tail: 3}, *beyond)
		begun := time.Now()
		tail, err := b.Tail(g.Context(), id, api.Level{AtLeast: 3})
		require.NoError(g, err, "the feed counts as broken at last")
		require.EqualValues(g, 4, tail)
		require.Less(g, time.Since(begun), 30*time.Second)
		wires.mend()
		time.AfterFunc(time.Second, func() { w.puts(1) })
		tail, err = b.Tail(g.Context(), id, api.Level{AtLeast: 4})
		require.NoError(g, err)
		require.EqualValues(g, 5, tail)
	}, "a", "b")
}

// TestFeedErrors: what this node does not write has no feed.
func TestFeedErrors(t *testing.T) {
	inGroup(t, func(g *group) {
		a, b := g.node("a"), g.node("b")
		id := g.create("x", api.LogConfig{})
		a.writer(id).puts(1)
		none := func([]byte) error { return nil }
		require.ErrorIs(g, b.Feed(g.Context(), a.Epoch(), none), api.ErrMoved)
		broken := errors.New("broken")
		require.ErrorIs(g, a.Feed(g.Context(), a.Epoch(), func([]byte) error { return broken }), broken)
		over := make(chan error)
		go func() { over <- a.Feed(g.Context(), a.Epoch(), none) }()
		synctest.Wait()
		g.takeOver("a", b)
		require.ErrorIs(g, <-over, api.ErrMoved)
		tail, err := a.OwnerTail(g.Context(), id)
		require.NoError(g, err)
		require.EqualValues(g, 2, tail)
		b.writer(id).puts(1)
		_, err = a.OwnerTail(g.Context(), id)
		elsewhere(g, err, "b")
	}, "a", "b")
}

// TestManyReaders: a thousand readers of one log, on a node that has nothing of
// it, cost at most two requests a fragment, of followers at the tail as of those
// that come later; and so do those of many logs.
func TestManyReaders(t *testing.T) {
	for _, logs := range []int{1, 50} {
		inGroup(t, func(g *group) {
			a, b := g.node("a"), g.node("b")
			b.faults.Add(blobtest.Fault{Kind: blobtest.Read, Delay: 20 * time.Millisecond})
			var writers []*writer
			for i := range logs {
				writers = append(writers, a.writer(g.create(fmt.Sprint("x", i), api.LogConfig{})))
			}
			const readers, rounds = 1000, 20
			ctx, cancel := context.WithCancel(g.Context())
			var wg sync.WaitGroup
			got := make([][]string, readers)
			for i := range readers {
				w := writers[i%logs]
				wg.Go(func() {
					st, err := b.Read(ctx, api.ReadRequest{Log: w.id, Follow: true})
					if err != nil {
						t.Error(err)
						return
					}
					defer st.Close() //nolint:errcheck // it was only read
					for {
						c, err := st.Next(ctx)
						if err != nil {
							return
						}
						got[i] = append(got[i], chunkWords(t, c)...)
					}
				})
			}
			synctest.Wait()
			time.Sleep(time.Second)
			before, fragments := b.faults.Count(blobtest.Read), a.Creates()
			for range rounds {
				var each sync.WaitGroup
				for _, w := range writers {
					each.Go(func() { w.puts(1) })
				}
				each.Wait()
				time.Sleep(20 * time.Millisecond)
			}
			time.Sleep(time.Second)
			fragments = a.Creates() - fragments
			require.Positive(g, fragments)
			gets := b.faults.Count(blobtest.Read) - before
			require.Positive(g, gets)
			require.LessOrEqual(g, gets, int(2*fragments))
			cancel()
			wg.Wait()
			for i := range got {
				require.Equal(g, writers[i%logs].all, got[i])
			}
		}, "a", "b")
	}
}
