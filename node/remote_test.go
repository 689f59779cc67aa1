package node_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

var cutsFlag = flag.Int("cuts", 200, "how many connections TestCuts cuts, in each of its two runs")

// TestCuts cuts every connection of a client at a random byte, on its way to
// the node or back, while it appends, follows, trims and takes over; and the
// next one, and so on. Everything goes on by itself, and in the end the ledger
// decides: what was acknowledged is there once, in order, and nothing else.
func TestCuts(t *testing.T) {
	for _, follow := range []bool{false, true} { // with it, few bytes that come back are answers
		t.Run(fmt.Sprint("follow=", follow), func(t *testing.T) {
			s := seed(t)
			bubble.Test(t, func(t *testing.T) { runCuts(t, s, follow) })
		})
	}
}

func runCuts(t *testing.T, s uint64, follow bool) {
	cuts := *cutsFlag
	if testing.Short() {
		cuts = min(cuts, 50)
	}
	w, _ := newWorld(t)
	w.Network = &testcluster.Network{}
	p := start(t, w)
	p.Faults.Hook(latency(s))
	c, err := w.Dial(t.Context())
	require.NoError(t, err)
	rnd := rand.New(rand.NewPCG(s, 2))
	w.Network.Plan(func() testcluster.Cut { return testcluster.RandomCut(rnd) })
	w.Network.Break() // the connection that was made before the plan
	l := testcluster.NewLedger(s, nil)
	load := testcluster.Load{
		Ledger: l, Logs: []string{"a", "b", "c"}, Trim: follow, Anonymous: 1, Named: 1, Exclusive: true, Conditional: true, Follow: follow,
		Rounds: 20, InFlight: 16, BytesMax: 2000, Seed: s,
	}
	enough := func(got testcluster.Cuts) bool {
		return got.All() >= cuts && got.Appends >= cuts/10 && got.Acks >= cuts/20
	}
	for load.Life = 1; !enough(w.Network.Cuts()); load.Life++ {
		require.Less(t, load.Life, 100)
		require.NoError(t, load.Run(t.Context(), c))
	}
	w.Network.Plan(nil)
	require.NoError(t, c.Close())
	got := w.Network.Cuts()
	t.Logf("%v; %d entries acknowledged", got, l.Entries(testcluster.Acknowledged))
	for _, why := range l.Reasons(testcluster.Unknown) {
		// Writers find out, unless a rival has taken over meanwhile.
		require.Contains(t, why, " to "+testcluster.ExclusiveLog+" ")
	}
	check(t, w, p, l, load.AllLogs(), testcluster.Expect{AcknowledgedMin: cuts})
}

// latency lets every request to the store take up to 20 ms.
func latency(s uint64) func(context.Context, blobtest.Op) error {
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(s, 1))
	return func(ctx context.Context, _ blobtest.Op) error {
		mu.Lock()
		d := time.Duration(rnd.IntN(20)) * time.Millisecond
		mu.Unlock()
		sleep(ctx, d)
		return nil
	}
}

// TestRestarts stops and crashes the node again and again, with pauses between,
// while a client that was dialled once appends and follows. Writers and
// followers go on by themselves; nothing is lost, or there twice.
func TestRestarts(t *testing.T) {
	s := seed(t)
	bubble.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(s, 3))
		w, _ := newWorld(t)
		w.Network = &testcluster.Network{}
		p := start(t, w)
		p.Faults.Hook(latency(s))
		c, err := w.Dial(t.Context())
		require.NoError(t, err)
		l := testcluster.NewLedger(s, nil)
		load := testcluster.Load{
			Ledger: l, Logs: []string{"a", "b"}, Anonymous: 1, Named: 1, Exclusive: true, Conditional: true, Follow: true,
			Rounds: 20, InFlight: 16, BytesMax: 500, Seed: s,
		}
		const restartsMin = 20
		var enough atomic.Bool
		over := make(chan error, 1)
		go func() {
			var err error
			for load.Life = 1; err == nil && !enough.Load(); load.Life++ {
				err = load.Run(t.Context(), c)
			}
			over <- err
		}()
		following := follow(t, c, "a")

		restarts := 0
		for running := true; running; enough.Store(restarts >= restartsMin) {
			select {
			case err := <-over:
				require.NoError(t, err)
				running = false
				continue
			case <-time.After(time.Duration(rnd.IntN(1500)) * time.Millisecond):
			}
			if restarts++; rnd.IntN(2) == 0 {
				stop(t, p)
			} else {
				crash(t, w, p)
			}
			time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
			p = start(t, w)
			p.Faults.Hook(latency(s + uint64(restarts)))
		}
		l.Fault("restart", restarts)
		log, err := c.Log(t.Context(), "a")
		require.NoError(t, err)
		tail, err := log.Tail(t.Context(), wpd.Linearizable())
		require.NoError(t, err)
		require.Equal(t, int(tail)-1, following(tail), "a follower has seen all")
		require.NoError(t, c.Close())
		t.Logf("%d restarts, %d entries acknowledged", restarts, l.Entries(testcluster.Acknowledged))
		for _, why := range l.Reasons(testcluster.Unknown) {
			require.Contains(t, why, " to "+testcluster.ExclusiveLog+" ")
		}
		check(t, w, p, l, load.AllLogs(), testcluster.Expect{AcknowledgedMin: 1000, Faults: map[string]int{"restart": restartsMin}})
	})
}

// follow follows a log with one Reader, which must not fail, from its start.
// What it returns waits until the reader has come to an LSN, and says how many
// entries it has seen.
func follow(t *testing.T, c *wpd.Client, name string) func(to wpd.LSN) int {
	t.Helper()
	log, err := testcluster.OpenLog(t.Context(), c, name)
	require.NoError(t, err)
	r, err := log.Reader(t.Context(), wpd.Earliest, wpd.Follow())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	seen := 0
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			e, err := r.Next(ctx)
			mu.Lock()
			switch {
			case err == nil && e.LSN == wpd.LSN(seen+1):
				seen++
			case ctx.Err() == nil:
				t.Errorf("a follower that has seen %d entries gets LSN %d, %v", seen, e.LSN, err)
				cancel()
			}
			mu.Unlock()
		}
	}()
	return func(to wpd.LSN) int {
		for patience := 0; patience < 100; patience++ {
			mu.Lock()
			n := seen
			mu.Unlock()
			if n >= int(to)-1 {
				break
			}
			sleep(ctx, time.Second)
		}
		cancel()
		<-ended
		require.NoError(t, r.Close())
		return seen
	}
}

// TestAnotherCluster: at the address that was dialled, a node of another
// cluster answers, which has a log of the same id. It refuses everything, and
// has nothing of it; what was in flight is uncertain. When the right one is
// back, all goes on.
func TestAnotherCluster(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		right, _ := newWorld(t)
		right.Network = &testcluster.Network{}
		wrong, _ := newWorld(t)
		wrong.Network = right.Network

		q := start(t, wrong)
		theirs := create(t, q, "theirs")
		stop(t, q)
		p := start(t, right)
		c, err := right.Dial(t.Context())
		require.NoError(t, err)
		log, err := c.Create(t.Context(), "ours", wpd.LogConfig{})
		require.NoError(t, err)
		require.Equal(t, theirs.ID(), log.ID())
		w, err := log.Writer(t.Context(), wpd.Linger(0))
		require.NoError(t, err)
		_, err = w.Append(t.Context(), []byte("a"))
		require.NoError(t, err)
		r, err := log.Reader(t.Context(), wpd.Tail, wpd.Follow())
		require.NoError(t, err)
		defer p.Faults.Close() //nolint:errcheck // what is held there is dropped
		held := p.Faults.Add(blobtest.Fault{Kind: blobtest.Create, Late: true, Prefix: "chains/"})
		flying := w.AppendAsync(t.Context(), wpd.Entry{Data: []byte("b")})
		synctest.Wait()
		require.Positive(t, held.Hits())
		crash(t, right, p)

		q = start(t, wrong)
		_, err = flying.Wait(t.Context())
		require.ErrorIs(t, err, wpd.ErrUncertain)
		_, err = w.Append(t.Context(), []byte("c"))
		requireAs[*wpd.WrongClusterError](t, err)
		requireAs[*wpd.WrongClusterError](t, log.Trim(t.Context(), 1))
		_, err = log.Writer(t.Context())
		requireAs[*wpd.WrongClusterError](t, err)
		_, err = r.Next(t.Context())
		requireAs[*wpd.WrongClusterError](t, err)
		_, err = c.Create(t.Context(), "more", wpd.LogConfig{})
		requireAs[*wpd.WrongClusterError](t, err)
		_, err = log.Info(t.Context())
		requireAs[*wpd.WrongClusterError](t, err)
		require.ErrorContains(t, err, "another cluster")
		require.ErrorIs(t, w.Close(), wpd.ErrUncertain)
		info, err := create(t, q, "theirs").Info(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, info.Tail, "nothing was stored")
		_, err = q.Client().Log(t.Context(), "more")
		require.ErrorIs(t, err, wpd.ErrNotFound)
		stop(t, q)

		p = start(t, right)
		w, err = log.Writer(t.Context())
		require.NoError(t, err)
		lsn, err := w.Append(t.Context(), []byte("d"))
		require.NoError(t, err)
		require.EqualValues(t, 2, lsn)
		e, err := r.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, "d", string(e.Data))
		require.NoError(t, w.Close())
		require.NoError(t, r.Close())
		require.NoError(t, c.Close())
		stop(t, p)
	})
}

// TestLoopback: the same over real sockets; the first of two addresses is dead.
func TestLoopback(t *testing.T) {
	n, err := node.Open(t.Context(), node.Config{Bucket: "mem://", Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, dead.Close())
	c, err := wpd.Dial(t.Context(), fmt.Sprintf("%s, %s", dead.Addr(), n.Addr()))
	require.NoError(t, err)
	log, err := c.Create(t.Context(), "log", wpd.LogConfig{})
	require.NoError(t, err)
	w, err := log.Writer(t.Context(), wpd.ProducerID("p"))
	require.NoError(t, err)
	const n1000 = 1000
	for i := range n1000 {
		w.AppendAsync(t.Context(), wpd.Entry{Data: fmt.Append(nil, i)})
	}
	require.NoError(t, w.Close())
	all, err := entriesOf(t.Context(), log, wpd.Earliest)
	require.NoError(t, err)
	require.Len(t, all, n1000)
	for i, e := range all {
		require.Equal(t, fmt.Sprint(i), string(e.Data))
	}
	require.NoError(t, c.Close())
	require.NoError(t, n.Close())
	_, err = wpd.Dial(t.Context(), fmt.Sprintf("%s,%s", dead.Addr(), n.Addr()))
	require.ErrorIs(t, err, wpd.ErrUnavailable)
	require.ErrorContains(t, err, fmt.Sprintf("%s: connect: connection refused; %s: connect: connection refused", dead.Addr(), n.Addr()))
}
