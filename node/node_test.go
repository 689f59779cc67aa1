package node_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

func TestConfigErrors(t *testing.T) {
	_, err := node.Open(t.Context(), node.Config{})
	require.ErrorContains(t, err, "no bucket")
	_, err = node.Open(t.Context(), node.Config{Bucket: "file:///nowhere"})
	require.ErrorContains(t, err, "no data directory")
	_, err = node.Open(t.Context(), node.Config{Bucket: "mem://", CloseTimeout: -1})
	require.ErrorContains(t, err, "negative")
	c := node.Config{Bucket: "mem://"}
	c.Log.Window = 65
	_, err = node.Open(t.Context(), c)
	require.ErrorContains(t, err, "window 65")
}

// TestTwoOpensOfOneDirectory: the second is refused, and the first goes on.
func TestTwoOpensOfOneDirectory(t *testing.T) {
	w, _ := newWorld(t)
	p := start(t, w)
	_, err := w.Start(t.Context())
	requireAs[*cluster.LockedError](t, err)
	log := create(t, p, "a")
	appendOne(t, log, 1)
	stop(t, p)
	stop(t, start(t, w))
}

func appendOne(t testing.TB, log *wpd.Log, want wpd.LSN) {
	t.Helper()
	w, err := log.Writer(t.Context())
	require.NoError(t, err)
	lsn, err := w.Append(t.Context(), []byte("x"))
	require.NoError(t, err)
	require.Equal(t, want, lsn)
	require.NoError(t, w.Close())
}

// TestTwoNodesOnOneBucket: a second data directory can't join by itself, a
// bucket of another cluster is refused, and an emptied one too. Nobody is
// disturbed.
func TestTwoNodesOnOneBucket(t *testing.T) {
	w, mem := newWorld(t)
	p := start(t, w)
	log := create(t, p, "a")
	appendOne(t, log, 1)
	before := mem.Keys("")

	second := worldOn(t, mem)
	for range 2 {
		_, err := second.Start(t.Context())
		requireAs[*cluster.OtherClusterError](t, err)
	}
	other, theirs := newWorld(t)
	q := start(t, other)
	stop(t, q)
	keys := theirs.Keys("")
	stop(t, p)
	mine := w.Raw
	w.Raw = theirs
	_, err := w.Start(t.Context())
	requireAs[*cluster.OtherClusterError](t, err)
	w.Raw = newStore(t)
	_, err = w.Start(t.Context())
	requireAs[*cluster.OtherClusterError](t, err)
	require.Equal(t, keys, theirs.Keys(""), "nothing was written there")
	w.Raw = mine
	for _, key := range before {
		_, ok := mem.Object(key)
		require.True(t, ok, key)
	}
	p = start(t, w)
	appendOne(t, create(t, p, "a"), 2)
	stop(t, p)
}

// TestBackPressure: with a store that hangs, a node takes what its buffer
// holds and no more. Then appenders wait; one whose ctx ends is told so, and
// when the store answers again, all is stored once.
func TestBackPressure(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w, _ := newWorld(t)
		p := start(t, w)
		log := create(t, p, "a")
		wr, err := log.Writer(t.Context(), wpd.InFlight(64<<20))
		require.NoError(t, err)
		rule := p.Faults.Add(blobtest.Fault{Kind: blobtest.Create, Hang: true, Prefix: "chains/"})
		data := make([]byte, 256<<10)
		const buffer = 24 << 20 // the least that a node has
		var pending []*wpd.Pending
		before := heap()
		for range 4 * buffer / 2 / len(data) { // twice the buffer
			pending = append(pending, wr.AppendAsync(t.Context(), wpd.Entry{Data: data}))
		}
		synctest.Wait()
		require.Equal(t, 4, rule.Waiting(), "as many creates as the window has")
		if grown := heap() - before; grown > 3*(2*buffer) {
			t.Errorf("the heap has grown by %d MiB", grown>>20)
		}

		// Straight to the service: it takes nothing more, for as long as ctx is.
		for i := 0; ; i++ {
			require.Less(t, i, buffer/len(data)+2)
			o, err := p.Node.Logs().OpenProducer(deadline(t, time.Second), api.OpenRequest{Log: log.ID()})
			require.NoError(t, err, "nothing of a new anonymous producer has to be durable")
			var b fragment.BatchBuilder
			require.NoError(t, b.Add(nil, data))
			batch := b.Finish(fragment.BatchMeta{Producer: o.ID, ProducerEpoch: o.Epoch, FirstSeq: 1, LowestSeq: 1})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err = p.Node.Logs().Append(ctx, api.AppendRequest{Log: log.ID(), Batch: batch}, func(api.Ack, error) {})
			cancel()
			if err != nil {
				require.ErrorIs(t, err, api.ErrUnavailable)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				break
			}
		}
		// And through a writer: one that waits for its own room says ctx's error,
		// one that is in flight says that the outcome is unknown.
		_, err = wr.Append(deadline(t, time.Second), data)
		require.Error(t, err)
		require.Equal(t, errors.Is(err, wpd.ErrUncertain), testcluster.OutcomeOf(err) == testcluster.Unknown)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, wr.Flush(deadline(t, time.Second)), wpd.ErrUncertain)

		rule.Release()
		for i, x := range pending {
			lsn, err := x.Wait(t.Context())
			require.NoError(t, err)
			if i > 0 {
				require.Positive(t, lsn)
			}
		}
		require.NoError(t, wr.Close())
		stop(t, p)
	})
}

func deadline(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	_ = cancel // it ends by itself, within the bubble
	time.AfterFunc(2*d, cancel)
	return ctx
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestSealedBySomebodyElse: while the node lives, somebody puts a seal at the
// next place of its chain. It goes on with a new chain, and what was in flight
// is stored once, in its order.
func TestSealedBySomebodyElse(t *testing.T) {
	s := seed(t)
	for ahead := range uint64(5) {
		bubble.Test(t, func(t *testing.T) {
			w, mem := newWorld(t)
			p := start(t, w)
			l := testcluster.NewLedger(s, nil)
			load := testcluster.Load{
				Ledger: l, Logs: []string{"a", "b"}, Trim: ahead%2 == 1, Anonymous: 1, Named: 1, Exclusive: true, Conditional: true, Follow: true,
				Rounds: 12, InFlight: 16, Seed: s + ahead,
			}
			sealed := 0
			p.Faults.Hook(func(ctx context.Context, op blobtest.Op) error {
				e, n, err := fragment.ParseChainKey(op.Key)
				if op.Kind == blobtest.Create && err == nil && n == 6 && e <= 2 {
					sealed++
					putSeal(t, mem, e, n+ahead)
				}
				sleep(ctx, time.Duration(1+op.N%5)*time.Millisecond)
				return nil
			})
			over := make(chan struct{})
			watched := make(chan struct{})
			go func() {
				defer close(watched)
				select {
				case <-p.Node.Failed():
					t.Errorf("%d objects before the place: %v", ahead, p.Node.Err())
					p.Kill()
				case <-over:
				}
			}()
			require.NoError(t, load.Run(t.Context(), p.Client()))
			close(over)
			<-watched
			if t.Failed() {
				p.Crash()
				return
			}
			require.GreaterOrEqual(t, sealed, 2)
			l.Fault("sealed", sealed)
			r := testcluster.Check(l, readBack(t, p, l, load.AllLogs()...), testcluster.Expect{AcknowledgedMin: 50})
			require.NoError(t, r.Err())
			for _, why := range l.Reasons(testcluster.Unknown) {
				// A rival took over while the chain was: that much a writer may
				// leave open.
				if !strings.Contains(why, "fenced:") {
					t.Errorf("a live node settles everything, but %s", why)
				}
			}
			crash(t, w, p)
			p = start(t, w)
			check(t, w, p, l, load.AllLogs(), testcluster.Expect{AcknowledgedMin: 50})
		})
	}
}

// putSeal puts a seal into a chain, as another node would.
func putSeal(t testing.TB, mem underStore, e fragment.Epoch, n uint64) {
	t.Helper()
	opening, ok := mem.Object(fragment.ChainKey(e, 0))
	require.True(t, ok)
	f, err := fragment.Decode(opening)
	require.NoError(t, err)
	nonce := fragment.Nonce{1}
	mem.Put("nodes/another/0000000000000001", fmt.Appendf(nil, `{"version":1,"cluster":%q,"identity":"another","boot":1,"nonce":%q}`,
		f.Head.Cluster, nonce))
	o := fragment.Encode(fragment.Head{
		Kind: fragment.KindSeal, Epoch: e, N: n, Nonce: nonce, Cluster: f.Head.Cluster,
		Incarnation: f.Head.Incarnation, Time: f.Head.Time,
	}, &fragment.Directory{Seal: &fragment.Seal{Node: "another", Boot: 1}})
	err = mem.Create(t.Context(), fragment.ChainKey(e, n), o.Parts)
	require.NoError(t, err)
}

// TestForeignObject: something that is no object of this chain stands in the
// next place. The node stops writing, loudly; reads go on; nothing that was
// acknowledged is lost, and what was in flight is not acknowledged.
func TestForeignObject(t *testing.T) {
	inScenes(t, func(s *scene) {
		o := s.producer(api.OpenRequest{Name: "p"})
		s.fill(o, 1, "a", "b")
		e, n := s.chain()
		s.mem.Put(fragment.ChainKey(e, n), []byte("who put this here?"))
		w, err := create(s, s.p, "log").Writer(deadline(s, time.Second), wpd.ProducerID("p"))
		require.ErrorIs(s, err, api.ErrUnavailable, "its epoch can't become durable")
		require.Nil(s, w)
		s.send(text(o, 3, "c")).is(api.ErrUnavailable) // nothing was done
		<-s.p.Node.Failed()
		require.ErrorContains(s, s.p.Node.Err(), fragment.ChainKey(e, n))
		s.send(text(o, 3, "c")).is(api.ErrUnavailable)
		require.Equal(s, []string{"a", "b"}, s.read())
		_, err = s.service().Lookup(s.Context(), "log")
		require.NoError(s, err)
		require.NoError(s, testcluster.KeepRaftOnly(s.w.Dir))
	})
	t.Run("under load", func(t *testing.T) {
		inScenes(t, func(s *scene) {
			w, err := create(s, s.p, "log").Writer(s.Context())
			require.NoError(s, err)
			_, err = w.Append(s.Context(), []byte("a"))
			require.NoError(s, err)
			e, n := s.chain()
			s.mem.Put(fragment.ChainKey(e, n+1), []byte("who put this here?"))
			var pending []*wpd.Pending
			for i := range 5 {
				pending = append(pending, w.AppendAsync(s.Context(), wpd.Entry{Data: fmt.Append(nil, i)}))
				s.settle()
			}
			<-s.p.Node.Failed()
			lsn, err := pending[0].Wait(s.Context())
			require.NoError(s, err)
			require.EqualValues(s, 2, lsn)
			for _, x := range pending[1:] {
				_, err := x.Wait(deadline(s, time.Second))
				require.ErrorIs(s, err, wpd.ErrUncertain)
			}
			require.Equal(s, []string{"a", "0"}, s.read())
			s.p.Kill()
			for _, x := range pending[1:] {
				_, err := x.Wait(s.Context())
				require.Error(s, err)
			}
		})
	})
}

// TestExclusive: each exclusive writer fences all before it, named or not,
// with all that they have in flight; others are refused until there is a newer
// one, also after a restart.
func TestExclusive(t *testing.T) {
	inScene(t, func(s *scene) {
		plain := s.producer(api.OpenRequest{})
		s.fill(plain, 1, "a")
		first := s.producer(api.OpenRequest{Exclusive: true})
		require.EqualValues(s, 1, first.Generation)
		require.EqualValues(s, 2, first.Tail)
		fails[*api.FencedError](s.send(text(plain, 2, "zombie")))
		s.send(text(plain, 1, "a")).at(1) // what is stored is answered all the same
		s.send(text(first, 1, "b")).at(2)
		_, err := s.service().OpenProducer(s.Context(), api.OpenRequest{Log: s.log, Name: "p"})
		requireAs[*api.FencedError](s, err)
		e, n := s.chain()
		held := s.hold(e, n)
		flying := s.send(text(first, 2, "c"))
		opened := make(chan api.Opened, 1)
		go func() {
			o, err := s.service().OpenProducer(context.Background(), api.OpenRequest{Log: s.log, Name: "p", Exclusive: true})
			if err == nil {
				opened <- o
			}
			close(opened)
		}()
		s.settle()
		require.Empty(s, opened, "it waits for what is in flight")
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		err = s.service().Append(ctx, api.AppendRequest{Log: s.log, Batch: text(first, 3, "d")}, func(api.Ack, error) {})
		cancel()
		require.ErrorIs(s, err, api.ErrUnavailable, "the gate is shut")
		held.Release()
		flying.at(3)
		second := <-opened
		require.EqualValues(s, 2, second.Generation)
		require.EqualValues(s, 4, second.Tail, "it sees all that was before")
		fails[*api.FencedError](s.send(text(first, 3, "d")))
		s.send(text(second, 1, "e"), 4).at(4)
		s.reopen()
		fails[*api.FencedError](s.send(text(first, 3, "d")))
		fails[*api.FencedError](s.send(text(plain, 2, "zombie")))
		s.send(text(second, 2, "f")).at(5)
		require.Equal(s, []string{"a", "b", "c", "e", "f"}, s.read())
	})
}

// TestNamedProducersMax: a new name over the limit is refused, the old ones
// work on, also after a restart.
func TestNamedProducersMax(t *testing.T) {
	inScenes(t, func(s *scene) {
		s.w.Config.Log.NamedProducersMax = 3
		s.reopen()
		all := []api.Opened{}
		for i := range 3 {
			all = append(all, s.producer(api.OpenRequest{Name: fmt.Sprint("p", i)}))
		}
		for range 2 {
			_, err := s.service().OpenProducer(s.Context(), api.OpenRequest{Log: s.log, Name: "p3"})
			limit, ok := errors.AsType[*api.LimitError](err)
			require.True(s, ok, err)
			require.EqualValues(s, 3, limit.Limit)
			for i := range all {
				all[i] = s.producer(api.OpenRequest{Name: fmt.Sprint("p", i)})
			}
			s.producer(api.OpenRequest{}) // another matter
			s.reopen()
		}
		_, err := s.service().OpenProducer(s.Context(), api.OpenRequest{Log: s.log, Name: string(make([]byte, 256))})
		requireAs[*api.LimitError](s, err)
		_, err = s.service().Producer(s.Context(), s.log, "nobody")
		require.ErrorIs(s, err, api.ErrNotFound)
	})
}

// TestCutsWithoutPause: six hours of an append a second, on metadata in
// memory: dozens of cuts by age, and no append ever waits for one, though
// writing an index takes the store half a minute.
func TestCutsWithoutPause(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		mem := blobtest.NewMem()
		w := &testcluster.World{Raw: mem}
		w.Options.RequestTimeout = time.Minute
		p := start(t, w)
		p.Faults.Hook(func(ctx context.Context, op blobtest.Op) error {
			switch {
			case op.Kind == blobtest.Create && len(op.Key) > 6 && op.Key[:6] == "index/":
				sleep(ctx, 30*time.Second)
			case op.Kind == blobtest.Create:
				sleep(ctx, 10*time.Millisecond)
			}
			return nil
		})
		log := create(t, p, "a")
		wr, err := log.Writer(t.Context())
		require.NoError(t, err)
		var worst time.Duration
		const hours = 6
		for i := range hours * 3600 {
			before := time.Now()
			lsn, err := wr.Append(t.Context(), []byte("x"))
			require.NoError(t, err)
			require.EqualValues(t, i+1, lsn)
			worst = max(worst, time.Since(before))
			time.Sleep(time.Second)
		}
		require.Less(t, worst, 25*time.Millisecond)
		require.GreaterOrEqual(t, len(mem.Keys("index/")), hours*6-2)
		n := 0
		for e, err := range log.Read(t.Context(), wpd.Earliest) {
			require.NoError(t, err)
			n++
			require.EqualValues(t, n, e.LSN)
		}
		require.Equal(t, hours*3600, n)
		p.Faults.Clear()
		require.NoError(t, wr.Close())
		stop(t, p)
		t.Logf("%d appends, the slowest took %v; %d indexes", n, worst, len(mem.Keys("index/")))
	})
}
