package tamper_test

import (
	"context"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/testcluster/stores"
	"github.com/wpd-io/wpd/testcluster/tamper"
	"github.com/wpd-io/wpd/testcluster/tamper/fakes3"
	"github.com/wpd-io/wpd/wal"
)

// seedEnv names the seed of TestNode; without it there is a new one each time.
const seedEnv = "WPD_TEST_SEED"

// requestTimeout is short, so that a fault which runs into it does not cost much.
const requestTimeout = 100 * time.Millisecond

// weather is what goes wrong with a node's requests. Most of its reads are of
// creates that have failed.
var weather = []tamper.Fault{
	{Kind: tamper.Create, Chance: 0.04, Do: tamper.Drop, Name: "create: drop"},
	{Kind: tamper.Create, Chance: 0.04, Do: tamper.Lie, Status: 412},
	{Kind: tamper.Create, Chance: 0.04, Do: tamper.Lie, Status: 409},
	{Kind: tamper.Create, Chance: 0.04, Do: tamper.Lie, Status: 500},
	{Kind: tamper.Create, Chance: 0.04, Do: tamper.Refuse, Status: 503, Name: "create: refuse 503"},
	{Kind: tamper.Create, Chance: 0.04, Do: tamper.Refuse, Status: 409},
	{Kind: tamper.Create, Chance: 0.04, Do: tamper.Reset},
	{Kind: tamper.Create, Chance: 0.04, Do: tamper.Slow, Delay: 2 * requestTimeout},
	{Kind: tamper.Create, Chance: 0.04, Do: tamper.Late, Delay: 3 * requestTimeout},
	{Kind: tamper.Read, Chance: 0.05, Do: tamper.Drop, Name: "read: drop"},
	{Kind: tamper.Read, Chance: 0.05, Do: tamper.Tear},
	{Kind: tamper.Read, Chance: 0.05, Do: tamper.Refuse, Status: 500},
	{Kind: tamper.List, Chance: 0.3, Do: tamper.Refuse, Status: 503, Name: "list: refuse 503"},
}

// hitsMin is how often each must have taken effect in a life before it ends.
const hitsMin = 2

// TestNode: a node lives on a store that everything goes wrong with on the way,
// is cut off from it twice with creates still under way, and lives again while
// these land. All that was acknowledged is there, once, in order.
func TestNode(t *testing.T) {
	t.Run("fake", func(t *testing.T) {
		h := httptest.NewServer(fakes3.New())
		t.Cleanup(h.Close)
		fakes3.Setenv(t)
		addr := h.Listener.Addr().String()
		runNode(t, addr, fakes3.URL(addr, "bucket"))
	})
	t.Run("s3", func(t *testing.T) {
		s := stores.Start(t, stores.S3)
		s.Setenv(t)
		runNode(t, s.Addr(), s.URL(t))
	})
}

func runNode(t *testing.T, addr, url string) {
	l := &lives{t: t, addr: addr, url: url, dir: filepath.Join(t.TempDir(), "node"), seed: seed(t)}
	l.ledger = testcluster.NewLedger(l.seed, nil)
	load := testcluster.Load{
		Ledger: l.ledger, Logs: []string{"a", "b"}, Anonymous: 1, Named: 1, Exclusive: true, Conditional: true, Follow: true,
		InFlight: 8, Seed: l.seed,
	}
	for load.Life = 1; load.Life <= 2; load.Life++ {
		l.begin().end(load)
	}
	x := l.begin()
	load.Rounds = 3
	require.NoError(t, load.Run(t.Context(), x.node.Client()))
	x.proxy.Clear()

	expect := testcluster.Expect{AcknowledgedMin: 100, Faults: map[string]int{"late": 2}}
	for _, r := range x.demanded() {
		expect.Faults[r.Name()] = 2 * hitsMin
	}
	var all []testcluster.Contents
	for _, name := range load.AllLogs() {
		log, err := testcluster.OpenLog(t.Context(), x.node.Client(), name)
		require.NoError(t, err)
		c, err := testcluster.ReadBack(t.Context(), log, name, l.ledger)
		require.NoError(t, err)
		all = append(all, c)
	}
	report := testcluster.Check(l.ledger, all, expect)
	require.NoError(t, report.Err())
	require.NoError(t, x.node.Close())
	t.Logf("%d acknowledged, %d unknown, %d refused", report.Acknowledged, report.Unknown, report.Refused)

	direct, err := blobstore.Open(t.Context(), url, blobstore.Options{})
	require.NoError(t, err)
	all, err = testcluster.ReadBucket(t.Context(), direct, load.AllLogs(), l.ledger)
	require.NoError(t, err)
	require.NoError(t, testcluster.Check(l.ledger, all, expect).Err(), "from the bucket alone")
	require.NoError(t, direct.Close())
}

// seed is that of all that is drawn.
func seed(t *testing.T) uint64 {
	s := rand.Uint64N(1 << 32)
	if env := os.Getenv(seedEnv); env != "" {
		var err error
		s, err = strconv.ParseUint(env, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("repeat with %s=%d", seedEnv, s)
	return s
}

// lives are those of one node.
type lives struct {
	t         *testing.T
	addr, url string
	dir       string
	seed      uint64
	ledger    *testcluster.Ledger
	late      *tamper.Rule // creates of the last life that are still under way
}

// life is one of them, with a proxy of its own: what went through that is not
// touched by what happens to the next.
type life struct {
	*lives
	proxy *tamper.Proxy
	rules []*tamper.Rule
	store *blobstore.Bucket
	node  *node.Node
}

// begin opens the node, while what the last one has left under way lands.
func (l *lives) begin() *life {
	l.t.Helper()
	p, err := tamper.Start(l.addr, rand.New(rand.NewPCG(l.seed, 1)))
	require.NoError(l.t, err)
	l.t.Cleanup(func() { require.NoError(l.t, p.Close()) })
	x := &life{lives: l, proxy: p}
	for _, f := range weather {
		x.rules = append(x.rules, p.Add(f))
	}
	x.store, err = blobstore.Open(l.t.Context(), strings.ReplaceAll(l.url, l.addr, p.Addr()), blobstore.Options{
		RequestTimeout: requestTimeout, BackoffMin: time.Millisecond, BackoffMax: 20 * time.Millisecond,
	})
	require.NoError(l.t, err)
	l.t.Cleanup(func() { require.NoError(l.t, x.store.Close()) })
	opening := make(chan error, 1)
	go func() { opening <- x.open() }()
	if l.late != nil {
		l.late.Release()
	}
	require.NoError(l.t, <-opening)
	return x
}

// open opens the node, and again if a read has failed too often, as whoever
// watches over its process would.
func (x *life) open() (err error) {
	ctx, cancel := context.WithTimeout(x.t.Context(), patience)
	defer cancel()
	for x.node == nil && ctx.Err() == nil {
		x.node, err = node.Open(ctx, node.Config{
			Store: x.store, DataDir: x.dir, CloseTimeout: 10 * time.Second,
			Log: wal.Config{Window: 4, FragmentBytes: 64 << 10, CutFragments: 16},
		})
	}
	return err
}

// demanded are the faults that a life is not to end without. Nodes list seldom.
func (x *life) demanded() []*tamper.Rule {
	return x.rules[:len(x.rules)-1]
}

// end puts the node under load until every fault has met it, and kills it with
// creates under way.
func (x *life) end(load testcluster.Load) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), patience)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- load.Run(ctx, x.node.Client()) }()
	for _, r := range x.demanded() {
		require.NoError(x.t, r.Wait(ctx, hitsMin), r.Name())
	}
	x.late = x.proxy.Add(tamper.Fault{Kind: tamper.Create, Key: "chains/", Count: 3, Do: tamper.Late})
	require.NoError(x.t, x.late.Wait(ctx, 1))
	for _, r := range x.rules {
		r.Remove()
		x.ledger.Fault(r.Name(), r.Count().Hits)
	}
	x.proxy.Add(tamper.Fault{Do: tamper.Cut})
	dead, die := context.WithCancel(ctx)
	die()
	_ = x.node.Logs().Close(dead) // it can't do what it wants to,
	_ = x.node.Close()            // nor can this
	require.NoError(x.t, <-done)
	x.ledger.Fault(x.late.Name(), x.late.Waiting())
}
