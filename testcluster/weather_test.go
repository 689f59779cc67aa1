package testcluster

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal"
)

var seedFlag = flag.Uint64("seed", 1, "what chance in the tests of bad weather starts from")

const (
	// enough is how many entries are acknowledged around every fault.
	enough = 10000
	// some are acknowledged between two events, so that neither is idle.
	some = 500
	// leaseTTL is that of node.Config.
	leaseTTL = node.LeaseTTLDefault
)

// Slow enough that what happens in seconds does not cost a million entries.
var (
	slowPeers = Link{Delay: time.Millisecond, Jitter: time.Millisecond}
	slowStore = Link{Delay: 10 * time.Millisecond, Jitter: 20 * time.Millisecond}
)

// weather is a cluster of three under load, for something to happen to it.
type weather struct {
	*testing.T
	*Cluster
	ledger *Ledger
	logs   []string

	loads   sync.WaitGroup
	ctx     context.Context // ends the loads
	lives   int
	mu      sync.Mutex // guards errs
	loadErr []error
}

// inWeather runs a script under load, in a bubble: enough is acknowledged, part
// of it before the script and part behind it, and everything is audited.
func inWeather(t *testing.T, expect map[string]int, script func(w *weather)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &weather{
			T: t, Cluster: New(t, 3, WithSeed(*seedFlag), WithConfig(smallChains), WithLinks(slowPeers, slowStore)),
			ledger: NewLedger(*seedFlag, nil), logs: []string{"a", "b", "c", "d"}, ctx: ctx,
		}
		defer func() {
			cancel()
			if t.Failed() {
				t.Logf("at last:\n%s", w.journal) // whatever comes of the loads
			}
			w.Heal() // whoever waits for something that is cut off waits no more
			w.Resume(w.All()...)
			w.loads.Wait()
		}()
		w.load(Load{Ledger: w.ledger, Logs: w.logs, Anonymous: 1, Named: 1, Conditional: true, Follow: true}, w.Client())
		w.acked(some)
		script(w)
		w.acked(some)
		if missing := enough - w.ledger.Entries(Acknowledged); missing > 0 {
			w.acked(missing)
		}
		cancel()
		w.loads.Wait()
		w.loadsAreWell()
		report, err := w.Audit(t.Context(), w.ledger, Expect{AcknowledgedMin: enough, Faults: expect})
		require.NoError(t, err)
		require.Greater(t, report.Entries, enough)
	})
}

// smallChains makes chains of many small fragments and segments.
func smallChains(_ int, c *node.Config) {
	c.Log = wal.Config{Window: 4, FragmentBytes: 64 << 10, CutFragments: 32}
}

// load starts a load, which ends with the script's.
func (w *weather) load(l Load, client *wpd.Client) {
	w.lives++
	l.Life, l.Seed = w.lives, *seedFlag
	w.loads.Go(func() {
		if err := l.Run(w.ctx, client); err != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.loadErr = append(w.loadErr, err)
		}
	})
}

// acked waits until so many more entries are acknowledged.
func (w *weather) acked(more int) {
	w.Helper()
	w.ackedOf(w.ledger, more)
}

func (w *weather) ackedOf(l *Ledger, more int) {
	w.Helper()
	want := l.Entries(Acknowledged) + more
	w.Await(fmt.Sprintf("%d more acknowledgements", more), func() bool {
		w.loadsAreWell()
		return l.Entries(Acknowledged) >= want
	})
}

// ackedTo waits until so many more entries of one log are acknowledged.
func (w *weather) ackedTo(log string, more int) {
	w.Helper()
	count := func() int { return w.ledger.entriesOf(log) }
	want := count() + more
	w.Await(fmt.Sprintf("%d more acknowledgements of log %s", more, log), func() bool {
		w.loadsAreWell()
		return count() >= want
	})
}

// loadsAreWell fails the test if a load has ended with an error.
func (w *weather) loadsAreWell() {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	require.NoError(w, errors.Join(w.loadErr...))
}

// entriesOf counts the acknowledged entries of a log.
func (l *Ledger) entriesOf(log string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.order {
		if a.Log == log && a.Outcome == Acknowledged {
			n += a.Count
		}
	}
	return n
}

// others are all nodes but some.
func (w *weather) others(but ...int) []int {
	return slices.DeleteFunc(w.All(), func(i int) bool { return slices.Contains(but, i) })
}

// awaitOther waits for the take-over of a log.
func (w *weather) awaitOther(log string, than int) {
	w.Helper()
	w.Await("another writer of "+log, func() bool { return w.Writer(log) != than })
}

// TestWeather is the bad weather of a cluster: see the names.
func TestWeather(t *testing.T) {
	for _, c := range []struct {
		name   string
		expect map[string]int
		script func(w *weather)
	}{
		{"kill the writer", map[string]int{"kill": 3}, func(w *weather) {
			for i := range 3 {
				w.killAndGoOn(w.logs[i], w.Writer(w.logs[i]))
			}
		}},
		{"kill the leader", map[string]int{"kill": 3}, func(w *weather) {
			for i := range 3 {
				w.killAndGoOn(w.logs[i], w.Leader())
			}
		}},
		{"kill the leader that writes", map[string]int{"kill": 2}, func(w *weather) {
			for i := range 2 {
				w.killAndGoOn(w.logs[i], w.lead(w.Writer(w.logs[i])))
			}
		}},
		{"kill writer and leader", map[string]int{"kill": 2}, func(w *weather) {
			writer := w.Writer("a")
			leader := w.lead(w.others(writer)[0])
			w.Kill(writer, leader)
			w.Start(writer, leader)
			w.ackedTo("a", some)
		}},
		{"kill all", map[string]int{"kill": 6}, func(w *weather) {
			for range 2 {
				all := w.All()
				w.Kill(all...)
				w.Start(all...)
				w.acked(some)
			}
		}},
		{"writer cut off from its peers", map[string]int{"cut": 2}, func(w *weather) {
			for i := range 2 {
				writer := w.Writer(w.logs[i])
				w.Partition(w.Names(writer), w.Names(w.others(writer)...))
				w.awaitOther(w.logs[i], writer)
				w.ackedTo(w.logs[i], some)
				w.Heal()
				w.acked(some)
			}
		}},
		{"writer cut off from bucket and clients", map[string]int{"cut": 2}, func(w *weather) {
			for i := range 2 {
				writer := w.Writer(w.logs[i])
				w.Partition(w.Names(writer), []string{StoreHost, ClientHost})
				time.Sleep(2 * leaseTTL) // it keeps its lease: nothing of its logs goes on
				w.Heal()
				w.ackedTo(w.logs[i], some)
			}
		}},
		{"writer cut off from the bucket, which says so", map[string]int{"cut": 1}, func(w *weather) {
			writer := w.Writer("a")
			w.Cut(Broken, w.Node(writer).Name, StoreHost)
			w.Cut(Broken, StoreHost, w.Node(writer).Name)
			time.Sleep(2 * leaseTTL)
			w.Heal()
			w.ackedTo("a", some)
		}},
		{"writer cut off from everything", map[string]int{"cut": 1}, func(w *weather) {
			writer := w.Writer("a")
			w.Partition(w.Names(writer), append(w.Names(w.others(writer)...), StoreHost, ClientHost))
			w.awaitOther("a", writer)
			w.ackedTo("a", some)
			w.Heal()
		}},
		{"peers don't hear the writer", map[string]int{"cut": 2}, func(w *weather) {
			for i := range 2 {
				writer := w.Writer(w.logs[i])
				for _, other := range w.others(writer) {
					w.Cut(Stalled, w.Node(writer).Name, w.Node(other).Name)
				}
				w.awaitOther(w.logs[i], writer)
				w.ackedTo(w.logs[i], some)
				w.Heal()
				w.acked(some)
			}
		}},
		{"the writer does not hear its peers", map[string]int{"cut": 2}, func(w *weather) {
			for i := range 2 {
				writer := w.Writer(w.logs[i])
				for _, other := range w.others(writer) {
					w.Cut(Stalled, w.Node(other).Name, w.Node(writer).Name)
				}
				w.awaitOther(w.logs[i], writer)
				w.ackedTo(w.logs[i], some)
				w.Heal()
				w.acked(some)
			}
		}},
		{"triangle", map[string]int{"cut": 3}, func(w *weather) {
			for i := range 3 { // two don't hear each other, the third hears both
				w.Partition(w.Names(i), w.Names((i+1)%3))
				w.acked(some)
				time.Sleep(2 * leaseTTL)
				w.acked(some)
				w.Heal()
				w.AwaitReady()
			}
		}},
		{"leader cut off, both ways in turn", map[string]int{"cut": 3}, func(w *weather) {
			for way := range 3 {
				leader := w.Leader()
				for _, other := range w.others(leader) {
					a, b := w.Node(leader).Name, w.Node(other).Name
					if way != 1 {
						w.Cut(Stalled, a, b)
					}
					if way != 0 {
						w.Cut(Stalled, b, a)
					}
				}
				w.Await("another leader", func() bool { return w.Leader() != leader })
				w.acked(some)
				w.Heal()
				w.acked(some)
			}
		}},
		{"connections break, again and again", map[string]int{"broken-connection": 20}, func(w *weather) {
			before := w.Net.Counts("", "")
			all := append(w.Names(w.All()...), ClientHost)
			for i := range 24 { // each of them from each other, twice
				a, b := all[i%4], all[(i+1+i/4%3)%4]
				w.Net.Cut(Broken, a, b)
				w.acked(some / 10)
				w.Net.Heal()
			}
			w.ledger.Fault("broken-connection", w.Net.Counts("", "").Since(before).ConnsBroken)
		}},
		{"lost, late and doubled packets, slow links", nil, func(w *weather) {
			bad := Link{Delay: 5 * time.Millisecond, Jitter: 40 * time.Millisecond, Drop: 0.3, Duplicate: 0.2, Reorder: 0.2}
			for _, a := range w.All() {
				for _, b := range w.others(a) {
					w.Net.Set(w.Node(a).Name, w.Node(b).Name, bad)
				}
			}
			w.acked(some)
			time.Sleep(5 * leaseTTL)
			c := w.Net.Counts("", "")
			w.ledger.Fault("packets", c.PacketsDropped)
			require.Positive(w, c.PacketsDropped)
			require.Positive(w, c.PacketsReordered)
			w.Heal()
		}},
		{"pause the writer for three leases", map[string]int{"pause": 2}, func(w *weather) {
			for i := range 2 {
				w.zombie(w.logs[i])
			}
		}},
		{"pause the leader", map[string]int{"pause": 2}, func(w *weather) {
			for range 2 {
				leader := w.Leader()
				w.Pause(leader)
				w.Await("another leader", func() bool { return w.Leader() != leader })
				w.acked(some)
				w.Resume(leader)
				w.acked(some)
			}
		}},
		{"creates that are late", map[string]int{lateCreate: 2, "cut": 2}, func(w *weather) {
			for i := range 2 {
				w.lateCreates(w.logs[i], func(writer int) {
					w.Partition(w.Names(writer), append(w.Names(w.others(writer)...), StoreHost))
				}, func(int) { w.Heal() })
			}
		}},
		{"creates that are late, of one that was killed", map[string]int{lateCreate: 2, "kill": 2}, func(w *weather) {
			for i := range 2 {
				w.lateCreates(w.logs[i], func(writer int) { w.Kill(writer) }, func(writer int) { w.Start(writer) })
			}
		}},
		{"a node is wiped", map[string]int{"wipe": 1}, func(w *weather) {
			w.comeBackAnew(w.Writer("a"))
			w.acked(some)
		}},
		{"a node is restored from an old copy", map[string]int{"restored-directory": 1}, func(w *weather) {
			i := w.Writer("a")
			w.Stop(i)
			old := w.SaveDir(i)
			w.Start(i)
			w.AwaitReady()
			w.acked(some)
			w.Kill(i)
			w.RestoreDir(i, old)
			var copied *cluster.CopiedError
			require.ErrorAs(w, w.tryStart(i), &copied)
			w.comeBackAnew(i)
			w.acked(some)
		}},
		{"two more, one less", map[string]int{"stop": 1}, func(w *weather) {
			w.Add()
			w.acked(some)
			w.Add()
			w.acked(some)
			gone := w.Writer("a")
			w.Stop(gone)
			w.ledger.Fault("stop", 1)
			w.Remove(gone)
			var removed *cluster.RemovedError
			require.ErrorAs(w, w.tryStart(gone), &removed)
			w.awaitOther("a", gone)
			w.acked(some)
		}},
		{"one that runs is removed", map[string]int{"removal": 1}, func(w *weather) {
			w.Add()
			gone := w.Writer("a")
			w.Remove(gone)
			w.ledger.Fault("removal", 1)
			w.awaitOther("a", gone)
			w.ackedTo("a", some)
			w.Node(gone).kill()
		}},
		{"rolling restart", map[string]int{"stop": 6}, func(w *weather) {
			for range 2 {
				for _, i := range w.All() {
					w.Stop(i)
					w.ledger.Fault("stop", 1)
					w.acked(some)
					w.Start(i)
					w.AwaitReady()
				}
			}
		}},
		{"a log is deleted and made again under a zombie", map[string]int{"pause": 1}, func(w *weather) { w.remade() }},
		{"the store fails", map[string]int{"store": 60}, func(w *weather) {
			for _, log := range w.logs {
				f := w.Node(w.Writer(log)).Faults
				var rules []*blobtest.Rule
				for i, fault := range []blobtest.Fault{{After: blobtest.ErrFault}, {Before: blobtest.ErrFault}, {Delay: 3 * time.Second}} {
					fault.Kind, fault.Skip, fault.Count = blobtest.Create, i, 5
					rules = append(rules, f.Add(fault))
				}
				for _, r := range rules {
					require.NoError(w, r.Wait(w.ctx, 5))
					w.ledger.Fault("store", r.Hits())
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) { inWeather(t, c.expect, c.script) })
	}
}

// killAndGoOn kills a node: the log goes on without it, and with it again.
func (w *weather) killAndGoOn(log string, i int) {
	w.Helper()
	w.Kill(i)
	w.ackedTo(log, some)
	require.NotContains(w, w.Up(), i)
	w.Start(i)
	w.AwaitReady()
}

// lead makes a node the leader.
func (w *weather) lead(i int) int {
	w.Helper()
	w.Await("leadership to be transferred", func() bool {
		if w.Leader() == i {
			return true
		}
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		_, _ = w.Node(i).Node().TransferLeader(ctx, w.Node(i).Name) // whoever led may be another one by now
		return false
	})
	return i
}

func (w *weather) identity(i int) string {
	s, err := w.Node(i).Node().Status(w.Context())
	require.NoError(w, err)
	return s.GetIdentity()
}

// tryStart starts a node that refuses to.
func (w *weather) tryStart(i int) error {
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	return w.Node(i).Start(ctx)
}

// zombie pauses the writer of a log for three leases. A client that knows only
// that node appends before and behind it, and is told where to go.
func (w *weather) zombie(log string) {
	writer := w.Writer(log)
	w.load(Load{Ledger: w.ledger, Logs: []string{log}, Anonymous: 2}, w.Dial(fmt.Sprintf("z%d", w.lives), writer))
	w.ackedTo(log, some)
	w.Pause(writer)
	start := time.Now()
	w.awaitOther(log, writer)
	w.ackedTo(log, some)
	time.Sleep(3*leaseTTL - time.Since(start))
	w.Resume(writer)
	w.ackedTo(log, some)
}

// lateCreates holds some creates of a log's writer back, has it cut off, and lets
// them land after the take-over, the last one first.
func (w *weather) lateCreates(log string, cut, mend func(writer int)) {
	writer := w.Writer(log)
	f := w.Node(writer).Faults
	var held []*blobtest.Rule
	for range 4 {
		held = append(held, f.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: "chains/", Late: true, Count: 1}))
	}
	w.Await("creates to be held back", func() bool { return held[1].Hits() > 0 })
	cut(writer)
	w.awaitOther(log, writer)
	w.ackedTo(log, some)
	before := f.Landed()
	for _, r := range slices.Backward(held) {
		r.Release()
	}
	require.Greater(w, f.Landed(), before, "none landed")
	mend(writer)
	w.acked(some)
}

// comeBackAnew wipes a node's disk. With it goes who it was: it comes back as
// another member of its name.
func (w *weather) comeBackAnew(i int) {
	var before string
	if w.Node(i).Node() != nil {
		before = w.identity(i)
		w.Kill(i)
	}
	w.Wipe(i)
	w.Start(i)
	w.AwaitReady()
	require.NotEqual(w, before, w.identity(i))
}

// remade deletes a log whose writer is paused, and makes one of that name. What
// clients of the old one still send to the old writer is never acknowledged.
func (w *weather) remade() {
	const name = "doomed"
	old := NewLedger(w.ledger.Run+1, nil)
	ctx := w.ctx
	doomedCtx, ended := context.WithCancel(ctx)
	defer ended()
	_, err := OpenLog(ctx, w.Client(), name)
	require.NoError(w, err)
	doomed := Load{Ledger: old, Logs: []string{name}, Anonymous: 1, Life: 1, Seed: *seedFlag}
	first := make(chan error, 1)
	client := w.Client()
	go func() { first <- doomed.Run(doomedCtx, client) }()
	w.ackedOf(old, some)
	writer := w.Writer(name)
	direct := w.Dial("z", writer)
	handle, err := direct.Log(ctx, name)
	require.NoError(w, err)
	sender, err := handle.Writer(ctx)
	require.NoError(w, err)
	w.Pause(writer)
	waits := sender.AppendAsync(ctx, wpd.Entry{Data: []byte("to the old log, before")})
	w.Await("the log to be deleted", func() bool {
		ctx, cancel := context.WithTimeout(ctx, 2*leaseTTL)
		defer cancel()
		err := client.Delete(ctx, name) // its outcome may be unknown
		return err == nil || errors.Is(err, wpd.ErrNotFound)
	})
	ended()
	<-first // what it complains of is that the log is gone
	require.GreaterOrEqual(w, old.Entries(Acknowledged), some)
	var next *wpd.Log
	w.Await("the next log of that name", func() (ok bool) {
		log, err := client.Create(ctx, name, wpd.LogConfig{})
		if err != nil { // its outcome may be unknown, or the node has not heard of the deletion
			log, err = client.Log(ctx, name)
		}
		next = log
		return err == nil && log.ID() > handle.ID()
	})
	w.Await("the client's node to know it", func() bool {
		log, err := client.Log(ctx, name)
		return err == nil && log.ID() == next.ID()
	})
	w.load(Load{Ledger: w.ledger, Logs: []string{name}, Anonymous: 1, Named: 1, Follow: true}, client)
	w.ackedTo(name, some)
	w.Resume(writer)
	_, _ = waits.Wait(w.ctx) // it may have been stored before the log was deleted, by the next writer
	_, err = sender.Append(w.ctx, []byte("to the old log, after"))
	require.ErrorIs(w, err, wpd.ErrNotFound)
	w.ackedTo(name, some)
}
