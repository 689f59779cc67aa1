package wal_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// inTakeOver has three nodes, of which a wrote some logs and is dead.
func inTakeOver(t *testing.T, f func(g *group, ids []fragment.LogID, producers []api.Opened)) {
	inGroup(t, func(g *group) {
		a := g.node("a")
		var ids []fragment.LogID
		var producers []api.Opened
		for i := range 5 {
			id := g.create(fmt.Sprint("x", i), api.LogConfig{})
			o := a.producer(id, "p")
			for seq := range uint64(5) {
				a.send(id, batch(o, seq+1, fmt.Sprint(seq))).at(fragment.LSN(seq) + 1)
			}
			ids, producers = append(ids, id), append(producers, o)
		}
		a.crash()
		f(g, ids, producers)
		for i, id := range ids {
			m := []*member{g.node("b"), g.node("c")}[i%2]
			m.send(id, batch(producers[i], 5, "4")).at(5)
			m.send(id, batch(producers[i], 6, "5")).at(6)
			require.Equal(g, []string{"0", "1", "2", "3", "4", "5"}, g.contents(id))
		}
	}, "a", "b", "c")
}

// TestSealersAtOnce: several nodes seal one chain at a time, and come to the
// same.
func TestSealersAtOnce(t *testing.T) {
	inTakeOver(t, func(g *group, _ []fragment.LogID, _ []api.Opened) {
		b, c := g.node("b"), g.node("c")
		slow(b)
		slow(c)
		g.takeOver("a", b)
		synctest.Wait() // it is at it
		g.takeOver("a", c)
		time.Sleep(time.Minute)
		require.Empty(g, g.chains("a"))
		require.NoError(g, b.Err())
		require.NoError(g, c.Err())
	})
}

// TestSealersTakeTurns: a node that is to seal a chain and can't is followed by
// another one; when it can again, it finds that all is done.
func TestSealersTakeTurns(t *testing.T) {
	for _, kind := range []blobtest.Kind{blobtest.Read, blobtest.Create} {
		inTakeOver(t, func(g *group, _ []fragment.LogID, _ []api.Opened) {
			b, c := g.node("b"), g.node("c")
			stuck := b.faults.Add(blobtest.Fault{Kind: kind, Hang: true})
			g.takeOver("a", b)
			time.Sleep(time.Minute)
			require.Len(g, g.chains("a"), 1)
			require.Positive(g, stuck.Hits())
			g.takeOver("a", c)
			time.Sleep(time.Minute)
			require.Empty(g, g.chains("a"))
			stuck.Remove()
			stuck.Release()
			time.Sleep(time.Minute)
			require.NoError(g, b.Err())
		})
	}
}

// TestSealerDies: so is one that dies at it, wherever it is; and one that starts
// again goes on.
func TestSealerDies(t *testing.T) {
	for _, again := range []bool{false, true} {
		inTakeOver(t, func(g *group, _ []fragment.LogID, _ []api.Opened) {
			b, c := g.node("b"), g.node("c")
			index := b.faults.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: "index/", Hang: true})
			g.takeOver("a", b)
			time.Sleep(time.Second)
			require.Positive(g, index.Hits(), "it has put the seal, and not told")
			b.crash()
			if again {
				g.start("b", nil)
			} else {
				g.takeOver("a", c)
			}
			time.Sleep(time.Second)
			require.Empty(g, g.chains("a"))
			if !again {
				g.start("b", nil)
			}
		})
	}
}

// TestSealsOnlyItsOwn: a node that starts leaves the chains of others alone, as
// long as it is not asked.
func TestSealsOnlyItsOwn(t *testing.T) {
	inGroup(t, func(g *group) {
		a := g.node("a")
		id := g.create("x", api.LogConfig{})
		o := a.producer(id, "p")
		b := g.start("b", nil)
		b.crash()
		g.start("b", nil)
		require.Len(g, g.chains("a"), 1)
		require.Len(g, g.chains("b"), 1)
		a.send(id, batch(o, 1, "one")).at(1)
	}, "a")
}
