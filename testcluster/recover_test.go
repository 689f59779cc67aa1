package testcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/cluster"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/offline"
)

// wreck is a cluster under load that loses its metadata, or most of them.
type wreck struct {
	*weather
	stop func() // ends the loads
}

// inWreck runs a script in a bubble on a cluster with some history: its logs
// have been written by several nodes. Afterwards all that was ever acknowledged
// is audited, and the bucket verified.
func inWreck(t *testing.T, expect map[string]int, script func(w *wreck)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		w := &wreck{weather: &weather{
			T: t, Cluster: New(t, 3, WithSeed(*seedFlag), WithConfig(smallChains), WithLinks(slowPeers, slowStore)),
			ledger: NewLedger(*seedFlag, nil),
		}}
		w.stop = func() {}
		defer func() { w.stop() }() // if the test fails, the loads end with their clients
		w.write("a", "b", "c")
		script(w)
		report, err := w.Audit(t.Context(), w.ledger, Expect{AcknowledgedMin: 4 * some, Faults: expect})
		require.NoError(t, err)
		require.Greater(t, report.Entries, 4*some)
		w.verified()
	})
}

// write starts the load on more logs, until some is acknowledged.
func (w *wreck) write(logs ...string) {
	w.Helper()
	w.stop()
	w.loads.Wait()
	w.loadsAreWell()
	for _, l := range logs {
		if !slices.Contains(w.logs, l) {
			w.logs = append(w.logs, l)
		}
	}
	w.ctx, w.stop = context.WithCancel(w.Context())
	// A client of its own: nodes that are lost have left nothing to know.
	client := w.Dial(fmt.Sprintf("%s-%d", ClientHost, w.lives), w.Up()...)
	w.load(Load{Ledger: w.ledger, Logs: w.logs, Anonymous: 1, Named: 1, Exclusive: true, Follow: true}, client)
	w.acked(some)
}

// rest ends the load.
func (w *wreck) rest() {
	w.Helper()
	w.stop()
	w.loads.Wait()
	w.loadsAreWell()
}

// save saves the metadata.
func (w *wreck) save() []byte {
	w.Helper()
	var b bytes.Buffer
	require.NoError(w, w.Node(w.Up()[0]).Node().SaveSnapshot(w.Context(), &b))
	return b.Bytes()
}

// lose kills nodes and takes their disks.
func (w *wreck) lose(nodes ...int) {
	w.Helper()
	w.Kill(nodes...)
	for _, i := range nodes {
		w.Wipe(i)
	}
}

// open opens a recovery on the data directory of a node that does not run.
func (w *wreck) open(i int, snapshot []byte) *node.Recovery {
	w.Helper()
	n := w.Node(i)
	require.NoError(w, n.rest())
	c := node.RecoverConfig{
		Store: blobstore.New(keepOpen{w.Store}, blobstore.Options{}), DataDir: n.Dir, Name: n.Name,
		Logger: w.journal.logger("recovery", 0, nil),
	}
	if snapshot != nil {
		c.Snapshot = bytes.NewReader(snapshot)
	}
	r, err := node.OpenRecovery(w.Context(), c)
	require.NoError(w, err)
	return r
}

// recover makes the next incarnation, and tells what came of it: as it was
// announced.
func (w *wreck) recover(i int, snapshot []byte) *cluster.RecoveryReport {
	w.Helper()
	r := w.open(i, snapshot)
	before := len(w.keys())
	said, err := r.Look(w.Context())
	require.NoError(w, err)
	require.Len(w, w.keys(), before, "a look changes nothing")
	done, err := r.Run(w.Context())
	require.NoError(w, err)
	require.NoError(w, r.Close())
	require.Equal(w, said, done)
	w.note("recovered: %+v", *done)
	return done
}

func (w *wreck) keys() (keys []string) {
	for key, err := range w.Store.List(w.Context(), "", "") {
		require.NoError(w, err)
		keys = append(keys, key)
	}
	return keys
}

// verified holds all that the bucket says against itself.
func (w *wreck) verified() {
	w.Helper()
	r, err := offline.Verify(w.Context(), blobstore.New(keepOpen{w.Store}, blobstore.Options{}), offline.VerifyOptions{})
	require.NoError(w, err)
	require.True(w, r.OK(), "%v", r.Problems)
	for _, n := range r.Notes {
		require.NotEqual(w, offline.NoteForeign, n.Kind, "%v", n)
	}
}

// states are the logs of a report by what became of them.
func states(r *cluster.RecoveryReport) map[string][]string {
	all := make(map[string][]string)
	for _, l := range r.Logs {
		all[l.State] = append(all[l.State], l.Name)
	}
	return all
}

// moveOn has every log go on at another node.
func (w *wreck) moveOn() {
	w.Helper()
	for _, log := range w.logs {
		from := w.Writer(log)
		to := w.Node(w.others(from)[0]).Name
		_, err := w.Node(w.Leader()).Node().MoveLog(w.Context(), log, to)
		require.NoError(w, err)
	}
	w.acked(some)
}

// TestRestore: all nodes are lost with their disks, and the metadata come back
// from a file, twice from the same one. Whatever was acknowledged after it was
// saved is there: in logs that moved, were taken over, or are new.
func TestRestore(t *testing.T) {
	inWreck(t, map[string]int{"kill": 8, "wipe": 6}, func(w *wreck) {
		w.moveOn()
		saved := w.save()
		for round := range uint64(2) {
			w.write("d", fmt.Sprintf("new-%d", round))
			w.moveOn()
			w.killAndGoOn("a", w.Writer("a"))
			w.rest()
			w.lose(w.All()...)
			r := w.recover(0, saved)
			require.Equal(w, 2+round, r.Incarnation)
			require.Greater(w, r.BucketRaftIndex, r.RaftIndex)
			require.NotZero(w, r.ChainsAdopted)
			require.Subset(w, states(r)["went on"], []string{"a", "b", "c"})
			require.Subset(w, states(r)["adopted"], []string{"d", fmt.Sprintf("new-%d", round)})
			require.Empty(w, r.Conflicts)
			require.Empty(w, r.Dropped)
			w.Start(0)
			w.Start(1, 2)
			w.AwaitReady()
			w.write()
		}
		w.rest()
	})
}

// TestRecover: a majority is gone for good; the node that is left goes on by its
// data directory, and the lost ones come back as new ones. Then the same again,
// with the bucket alone.
func TestRecover(t *testing.T) {
	inWreck(t, map[string]int{"kill": 6, "wipe": 5}, func(w *wreck) {
		w.moveOn()
		w.rest()
		w.Kill(0)
		w.lose(1, 2)
		r := w.recover(0, nil)
		require.Equal(w, uint64(2), r.Incarnation)
		require.LessOrEqual(w, r.BucketRaftIndex, r.RaftIndex, "the node that is left had all of the metadata")
		require.Zero(w, r.ChainsAdopted)
		require.Len(w, r.Removed, 3)
		w.Start(0)
		w.Start(1, 2)
		w.AwaitReady()
		w.write("d")
		w.moveOn()
		w.rest()

		w.lose(w.All()...)
		r = w.recover(1, nil)
		require.Equal(w, uint64(3), r.Incarnation)
		require.Zero(w, r.RaftIndex)
		require.Equal(w, r.LogsTotal, len(states(r)["adopted"]))
		require.ElementsMatch(w, append(w.logs, ExclusiveLog), states(r)["adopted"])
		require.Equal(w, 1, r.Fenced)
		w.Start(1)
		w.Start(0, 2)
		w.AwaitReady()
		w.write()
		w.rest()
	})
}

// TestRestoreUnderZombies: the nodes of the old incarnation are alive and write,
// with the bucket in reach, while the metadata are restored and go on elsewhere.
// They stop by themselves, and nothing that they acknowledged is missing.
func TestRestoreUnderZombies(t *testing.T) {
	inWreck(t, map[string]int{"zombie": 3}, func(w *wreck) {
		saved := w.save()
		w.moveOn()
		fresh := w.add(0)
		require.NoError(w, os.MkdirAll(fresh.Dir, 0o700))
		zombies := []int{0, 1, 2}
		for _, i := range zombies {
			for _, way := range [][2]string{{fresh.Name, w.Node(i).Name}, {w.Node(i).Name, fresh.Name}} {
				w.Net.Cut(Stalled, way[0], way[1])
			}
		}
		r := w.recover(fresh.index, saved)
		require.Empty(w, r.Conflicts)
		for _, i := range zombies {
			select {
			case <-w.Node(i).Node().Failed():
				require.ErrorContains(w, w.Node(i).Node().Err(), "incarnation 2")
			case <-time.After(time.Minute):
				w.Fatalf("%s lives on", w.Node(i).Name)
			}
		}
		before := w.ledger.Entries(Acknowledged)
		time.Sleep(3 * leaseTTL)
		require.Equal(w, before, w.ledger.Entries(Acknowledged), "a zombie acknowledges")
		w.ledger.Fault("zombie", len(zombies))
		for _, i := range zombies {
			require.NoError(w, w.Node(i).Stop())
		}
		// Nor do they start again, though they are a majority of their own. Those
		// that are left alone then wait for the others.
		ctx, cancel := context.WithTimeout(w.Context(), 10*leaseTTL)
		defer cancel()
		errs := make([]error, len(zombies))
		var starting sync.WaitGroup
		for k, i := range zombies {
			starting.Go(func() { errs[k] = w.Node(i).Start(ctx) })
		}
		starting.Wait()
		over := 0
		for _, err := range errs {
			require.Error(w, err)
			if _, ok := errors.AsType[*cluster.OverError](err); ok {
				over++
			}
		}
		require.NotZero(w, over, "%v", errs)
		w.Heal()
		w.Start(fresh.index)
		for _, i := range zombies {
			err := w.Node(i).Start(w.Context())
			_, removed := errors.AsType[*cluster.RemovedError](err)
			require.True(w, removed, "%v", err)
			w.Wipe(i)
		}
		w.Start(zombies...)
		w.AwaitReady()
		w.write("d")
		w.rest()
	})
}
