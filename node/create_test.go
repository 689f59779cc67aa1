package node_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

var everyFlag = flag.Int("every", 1, "TestEveryCreate strikes one create in so many")

// trouble is what happens to one create of a run.
type trouble string

const (
	failsBefore trouble = "fails, not applied"
	failsAfter  trouble = "applied, reply lost"
	hangs       trouble = "hangs, then goes on"
	timesOut    trouble = "hangs beyond its deadline"
	late        trouble = "given up, and lands later"
	lateNow     trouble = "given up, and lands before the next attempt"
	dies        trouble = "the node dies before it is applied"
	diesAfter   trouble = "the node dies when it is applied"
	diesEarly   trouble = "the node dies with it on its way, and it lands before the next starts"
	diesMeet    trouble = "the node dies with it on its way, and it lands while the next starts"
	diesLate    trouble = "the node dies with it on its way, and it lands when the next works"
)

var troubles = []trouble{failsBefore, failsAfter, hangs, timesOut, late, lateNow, dies, diesAfter, diesEarly, diesMeet, diesLate}

// TestEveryCreate lets one create go wrong, each in turn, in each way, while a
// node opens, works, crashes, is opened again, and so on: creates of
// fragments, indexes, chain openings, seals, boots and cluster.json. Then the
// ledger decides. It runs in bubbles, on a store in memory with latency, and
// on Raft's real files.
func TestEveryCreate(t *testing.T) {
	s := seed(t)
	var mu sync.Mutex
	kinds := make(map[string]int)
	t.Cleanup(func() {
		t.Logf("struck: %v", kinds)
		for _, kind := range []string{"cluster.json", "nodes", "index", "opening", "fragment"} {
			if kinds[kind] == 0 && !testing.Short() {
				t.Errorf("no %s was struck", kind)
			}
		}
	})
	for _, how := range troubles {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			step := *everyFlag
			if testing.Short() {
				step = max(step, 7)
			}
			enough := 3 // how many creates there are, varies by that
			if outside != nil {
				enough = 1 + 2/step // each takes a run on a real store
			}
			k, idle := 1+int(s)%step, 0
			for ; idle < enough; k += step {
				r := &createRun{how: how, k: k, seed: s}
				bubble.Test(t, r.run)
				if t.Failed() {
					t.Fatalf("create %d of seed %d: %s", k, s, r.struck)
				}
				if r.struck == "" {
					idle++
					continue
				}
				mu.Lock()
				kinds[kindOfKey(r.struck)]++
				mu.Unlock()
			}
		})
	}
}

func kindOfKey(key string) string {
	var epoch, n uint64
	switch _, err := fmt.Sscanf(key, "chains/%x/%x", &epoch, &n); {
	case err == nil && n == 0:
		return "opening"
	case err == nil:
		return "fragment" // or seal
	}
	for _, kind := range []string{"cluster.json", "nodes", "index"} {
		if len(key) >= len(kind) && key[:len(kind)] == kind {
			return kind
		}
	}
	return key
}

// createRun is one run of TestEveryCreate.
type createRun struct {
	how  trouble
	k    int // the create that is struck
	seed uint64

	mu     sync.Mutex
	rnd    *rand.Rand
	n      int            // creates so far, of all lives
	struck string         // the key of the k-th
	rule   *blobtest.Rule // what is held
	calls  int            // of the life that meets the late one
}

const livesMax = 4

func (c *createRun) run(t *testing.T) {
	c.rnd = rand.New(rand.NewPCG(c.seed, uint64(c.k)))
	w, _ := newWorld(t)
	l := testcluster.NewLedger(c.seed, nil)
	load := testcluster.Load{
		Ledger: l, Logs: []string{"a", "b"}, Trim: c.k%2 == 1, Anonymous: 1, Named: 1, Exclusive: true, Conditional: true, Follow: true,
		Rounds: 3, InFlight: 8, Seed: c.seed,
	}
	for load.Life = 1; load.Life < livesMax; load.Life++ {
		p := w.Proc()
		p.Faults.Hook(c.hook(p, c.rule))
		// A crash in the middle of the first life, at its end in the second.
		if load.Life == 1 {
			time.AfterFunc(time.Duration(c.rnd.IntN(200))*time.Millisecond, p.Cut)
		}
		liveAndCrash(t, w, p, load)
		if c.rule != nil && (c.how == diesEarly || c.how == late || c.how == lateNow) {
			c.rule.Release()
		}
	}
	p := start(t, w)
	if c.rule != nil {
		c.rule.Release()
	}
	load.Logs, load.Exclusive = load.AllLogs(), false
	check(t, w, p, l, load.Logs, testcluster.Expect{AcknowledgedMin: 10})
}

// liveAndCrash opens a node and puts a load on it. Once that has ended, or the
// node is cut off in its midst, nothing is left but the bucket and Raft's files.
func liveAndCrash(t *testing.T, w *testcluster.World, p *testcluster.Proc, load testcluster.Load) {
	t.Helper()
	dead := make(chan struct{})
	context.AfterFunc(p.WhenCut(), func() {
		p.Kill()
		close(dead)
	})
	if err := p.Open(t.Context()); err == nil {
		// A log with a chain of its own; if that fails, the load makes another.
		_, _ = p.Client().Create(t.Context(), "b", wpd.LogConfig{Dedicated: true})
		require.NoError(t, load.Run(t.Context(), p.Client()))
	} else {
		require.ErrorIs(t, err, testcluster.ErrCut)
	}
	p.Cut()
	<-dead
	crash(t, w, p)
}

// hook gives every call a latency, some reads an error, and the k-th create
// its trouble.
func (c *createRun) hook(p *testcluster.Proc, held *blobtest.Rule) func(context.Context, blobtest.Op) error {
	return func(ctx context.Context, op blobtest.Op) error {
		c.mu.Lock()
		latency := time.Duration(c.rnd.IntN(20)) * time.Millisecond
		fail := op.Kind != blobtest.Create && c.rnd.IntN(40) == 0
		c.calls++
		meet := c.how == diesMeet && held != nil && c.rnd.IntN(6) == 0
		if op.Kind == blobtest.Create {
			c.n++
			if c.n == c.k {
				c.struck = op.Key
				c.strike(p, op)
			}
		}
		rule := c.rule
		c.mu.Unlock()
		if meet {
			held.Release()
		}
		if c.how == lateNow && rule != nil && op.Kind == blobtest.Read && op.Key == c.struck {
			// Between the look back and the next attempt.
			defer func() { go rule.Release() }()
		}
		sleep(ctx, latency)
		if fail {
			return blobtest.ErrFault
		}
		return nil
	}
}

// strike orders the trouble for this very call.
func (c *createRun) strike(p *testcluster.Proc, op blobtest.Op) {
	f := blobtest.Fault{Kind: blobtest.Create, Count: 1, Match: func(x blobtest.Op) bool { return x.Key == op.Key }}
	soon := func(d time.Duration, do func()) { time.AfterFunc(d, do) }
	switch c.how {
	case failsBefore:
		f.Before = blobtest.ErrFault
	case failsAfter:
		f.After = blobtest.ErrFault
	case hangs:
		f.Hang = true
		r := p.Faults.Add(f)
		soon(300*time.Millisecond, r.Release)
		return
	case timesOut:
		f.Hang = true
	case late, lateNow:
		f.Late = true
		c.rule = p.Faults.Add(f)
		return
	case dies:
		p.Cut()
		return
	case diesAfter:
		_ = p.Faults.Below().Create(context.Background(), op.Key, op.Parts)
		p.Cut()
		return
	case diesEarly, diesMeet, diesLate:
		f.Late = true
		c.rule = p.Faults.Add(f)
		soon(time.Duration(c.rnd.IntN(300))*time.Millisecond, p.Cut)
		return
	}
	p.Faults.Add(f)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
