package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/testcluster"
)

var weatherSeed = flag.Uint64("weather-seed", 1, "what chance in the loads of bad weather starts from")

const (
	// stormEnough is how many entries are acknowledged around a fault at least.
	stormEnough = 10_000
	// stormSome are acknowledged between two events, so that neither is idle.
	stormSome = 500
	// stormPause keeps a load from being more than can be read back soon.
	stormPause = 3 * time.Millisecond
)

// storm is one scenario: a load on logs of its own, something that happens to
// the cluster meanwhile, and an audit of all that was promised.
type storm struct {
	*testing.T
	*sky
	name    string
	ledgers map[string]*testcluster.Ledger // by log
	faults  map[string]int                 // that took effect
	client  *wpd.Client                    // of all nodes
	clients []*wpd.Client                  // it, and others

	ctx   context.Context // ends the loads
	loads sync.WaitGroup
	lives int
	mu    sync.Mutex // guards errs
	errs  []error    // of the loads
}

// weather runs a script under load. So many faults of each name must take
// effect. In the end all nodes run that are to, and everything is read back.
func (s *sky) weather(t *testing.T, name string, faults map[string]int, script func(w *storm)) {
	if t.Failed() {
		return // what is left of the cluster proves nothing
	}
	t.Run(name, func(t *testing.T) {
		before := s.t
		s.t = t
		defer func() { s.t = before }()
		ctx, cancel := context.WithCancel(t.Context())
		w := &storm{
			T: t, sky: s, name: strings.ReplaceAll(name, " ", "-"), ctx: ctx,
			ledgers: make(map[string]*testcluster.Ledger), faults: make(map[string]int),
		}
		defer func() {
			cancel()
			if t.Failed() {
				t.Logf("the nodes say:\n%s", s.said())
			}
			for _, c := range w.clients {
				_ = c.Close() // whoever still waits for a node waits no more
			}
			w.loads.Wait()
		}()
		w.client = w.dial(s.up()...)
		for _, log := range []string{"a", "b", "c"} {
			w.load(w.log(log), testcluster.Load{Anonymous: 1, Named: 1, Conditional: log == "a", Follow: true}, w.client)
		}
		for log := range w.ledgers {
			w.ackedTo(log, stormSome)
		}
		script(w)
		w.acked(max(stormSome, w.enough-w.count()))
		cancel()
		w.loads.Wait()
		w.areWell()
		require.Equal(t, faults, w.faults)
		w.audit()
	})
}

// dial makes a client of some nodes, which lasts as long as the scenario.
func (w *storm) dial(which ...int) *wpd.Client {
	w.Helper()
	c, err := wpd.Dial(w.ctx, strings.Join(w.addrs(which...), ","))
	require.NoError(w, err)
	w.clients = append(w.clients, c)
	return c
}

// log is the name of a log of this scenario.
func (w *storm) log(name string) string { return w.name + "/" + name }

// load starts a load on one log, which ends with the script's.
func (w *storm) load(log string, l testcluster.Load, client *wpd.Client) {
	if w.ledgers[log] == nil {
		w.ledgers[log] = testcluster.NewLedger(*weatherSeed, nil)
	}
	w.lives++
	l.Ledger, l.Logs, l.Life, l.Seed, l.Pause = w.ledgers[log], []string{log}, w.lives, *weatherSeed, stormPause
	w.loads.Go(func() {
		if err := l.Run(w.ctx, client); err != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.errs = append(w.errs, err)
		}
	})
}

// drip returns a function that appends an entry to a log, and does not wait for
// what becomes of it.
func (w *storm) drip(log string) (drop func()) {
	w.Helper()
	l := w.ledgers[log]
	handle, err := w.client.Log(w.ctx, log)
	require.NoError(w, err)
	writer, err := handle.Writer(w.ctx)
	require.NoError(w, err)
	w.lives++
	producer, seq := fmt.Sprintf("drip-%d", w.lives), uint64(0)
	return func() {
		seq++
		a := l.Intend(testcluster.Append{Nonce: uint64(w.lives)<<32 | seq, Log: log, Producer: producer, Seq: seq, Count: 1})
		pending := writer.AppendAsync(w.ctx, a.Entries(l.Run)[0])
		w.loads.Go(func() {
			lsn, err := pending.Wait(context.WithoutCancel(w.ctx))
			l.Settle(a.Nonce, lsn, err)
		})
	}
}

// areWell fails the test if a load has ended with an error.
func (w *storm) areWell() {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	require.NoError(w, errors.Join(w.errs...))
}

// count counts what was acknowledged.
func (w *storm) count() (n int) {
	for _, l := range w.ledgers {
		n += l.Entries(testcluster.Acknowledged)
	}
	return n
}

// acked waits until so many more entries are acknowledged, ackedTo until so many
// of one log are.
func (w *storm) acked(more int) {
	w.Helper()
	want := w.count() + more
	w.await(fmt.Sprintf("%d more acknowledgements", more), func() bool {
		w.areWell()
		return w.count() >= want
	})
}

func (w *storm) ackedTo(log string, more int) {
	w.Helper()
	l := w.ledgers[log]
	want := l.Entries(testcluster.Acknowledged) + more
	w.await(fmt.Sprintf("%d more acknowledgements of %s", more, log), func() bool {
		w.areWell()
		return l.Entries(testcluster.Acknowledged) >= want
	})
}

// writer is the node that writes a log.
func (w *storm) writer(log string) (i int) {
	w.Helper()
	w.await("a writer of "+log, func() bool {
		i = w.tryWriter(log)
		return i >= 0
	})
	return i
}

// tryWriter is the node that writes a log; -1: nobody, or nobody knows.
func (w *storm) tryWriter(log string) int {
	ctx, cancel := context.WithTimeout(w.Context(), skyTTL)
	defer cancel()
	l, err := w.client.Log(ctx, log)
	if err != nil {
		return -1
	}
	info, err := l.Info(ctx)
	if err != nil {
		return -1
	}
	return w.index(info.Writer)
}

// awaitOther waits for the take-over of a log.
func (w *storm) awaitOther(log string, than int) {
	w.Helper()
	w.await("another writer of "+log, func() bool {
		i := w.tryWriter(log)
		return i >= 0 && i != than
	})
}

// fault notes that one took effect.
func (w *storm) fault(name string, times int) { w.faults[name] += times }

// audit judges what was promised. Everything is read back through every node,
// through a new one with an empty disk, and from the bucket alone, and each time
// held against what was tried and what was told.
func (w *storm) audit() {
	w.Helper()
	w.whole()
	fresh := w.add()
	w.start(fresh)
	w.whole()
	for _, i := range w.up() {
		w.through(i)
	}
	w.stop(fresh)
	w.remove(fresh)
	w.nodes = slices.Delete(w.nodes, fresh, fresh+1)
	w.whole()

	code, stdout, stderr := runWpd("verify", "--bucket", w.bucket)
	require.Zero(w, code, "%s\n%s", stdout, stderr)
	require.Contains(w, stdout, "whole")
	bucket, err := blobstore.Open(w.Context(), w.bucket, blobstore.Options{})
	require.NoError(w, err)
	defer bucket.Close() //nolint:errcheck // it was only read
	// What was seen is in the ledgers already, and checked against them.
	all, err := testcluster.ReadBucket(w.Context(), bucket, slices.Collect(maps.Keys(w.ledgers)), testcluster.NewLedger(0, nil))
	require.NoError(w, err)
	total := 0
	for _, c := range all {
		total += w.check("the bucket", c.Log, c)
	}
	require.GreaterOrEqual(w, total, w.enough)
	w.Logf("%d entries acknowledged; %v", total, w.faults)
}

// through reads everything through one node.
func (w *storm) through(i int) {
	w.Helper()
	x := w.nodes[i]
	before := w.metric(i, "wpd_rpc_sent_bytes_total")
	client, err := wpd.Dial(w.Context(), x.grpc) // which keeps to it as long as it answers
	require.NoError(w, err)
	defer client.Close() //nolint:errcheck // it was only read
	entries := 0
	for name, l := range w.ledgers {
		log, err := client.Log(w.Context(), name)
		require.NoError(w, err, "through %s", x.name)
		c, err := testcluster.ReadBack(w.Context(), log, name, l)
		require.NoError(w, err, "through %s", x.name)
		w.check(x.name, name, c)
		entries += len(c.Entries)
	}
	sent := w.metric(i, "wpd_rpc_sent_bytes_total") - before
	require.Greater(w, sent, float64(20*entries), "%d entries were not read through %s", entries, x.name)
}

// check holds one log as it was read back against its ledger, and returns how
// many entries of it were acknowledged.
func (w *storm) check(through, log string, c testcluster.Contents) int {
	w.Helper()
	r := testcluster.Check(w.ledgers[log], []testcluster.Contents{c}, testcluster.Expect{AcknowledgedMin: 1})
	require.NoError(w, r.Err(), "%s through %s", log, through)
	ordered := slices.IsSortedFunc(c.Entries, func(a, b wpd.Entry) int { return a.Time.Compare(b.Time) })
	require.True(w, ordered, "%s through %s: append times decrease", log, through)
	return r.Acknowledged
}
