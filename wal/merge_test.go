package wal_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// oneEach cuts every fragment off by itself.
func oneEach(c *wal.Config) { c.CutFragments = 1 }

// putCuts appends words, each in a segment of its own.
func (w *writer) putCuts(n int) {
	for range n {
		w.puts(1)
		time.Sleep(2 * time.Second) // longer than until a cut is tried again
	}
}

// TestMergedCuts: a chain's cuts are merged while it is written and followed. The
// metadata have few of them, and every LSN says what it said: at the writer, at a
// follower, once the chain is sealed, at nodes that come later, and in the bucket
// alone. Some merges are not done, some answers lost, and some come late.
func TestMergedCuts(t *testing.T) {
	for name, how := range map[string]trouble{"well": none, "not done": notDone, "answer lost": lost, "late": late} {
		t.Run(name, func(t *testing.T) {
			const entries = 400
			fresh := api.Level{Linearizable: true}
			inGroup(t, func(g *group) {
				a, b := g.start("a", oneEach), g.start("b", oneEach)
				a.view.strikeFirst(4, how, func(c *fsmpb.Command) bool { return c.GetMergeCuts() != nil })
				id := g.create("x", api.LogConfig{})
				w := a.writer(id)
				st := b.follow(id, api.Level{})
				w.putCuts(entries)
				require.Equal(g, w.all, words(g, st, entries, time.Minute))
				require.NoError(g, st.Close())
				if how != none {
					require.EqualValues(g, 4, a.view.struck.Load())
				}
				if how == late {
					require.EqualValues(g, 4, a.view.release())
				}
				require.Equal(g, w.all, b.all(id, fresh))
				require.Less(g, len(g.chains("a")[0].Cuts), entries/8)
				require.NoError(g, g.meta.now().state.Check())

				c := g.start("c", nil)
				require.Equal(g, w.all, c.all(id, fresh), "a node that comes later")
				a.crash()
				g.takeOver("a", b)
				w.at(b)
				w.puts(1)
				for _, m := range []*member{b, c, g.start("d", nil)} {
					require.Equal(g, w.all, m.all(id, fresh), m.name)
				}
				for _, m := range g.alive() {
					m.stop()
				}
				all, err := testcluster.ReadBucket(g.Context(), blobstore.New(g.mem, blobstore.Options{}), []string{"x"}, testcluster.NewLedger(1, nil))
				require.NoError(g, err)
				require.Len(g, all[0].Entries, len(w.all))
				require.Empty(g, all[0].Lost)
			})
		})
	}
}

// TestMergesOfOpenChains: merges are proposed while the chain is open, and none
// has the last cut in it, upon which a seal rests.
func TestMergesOfOpenChains(t *testing.T) {
	inGroup(t, func(g *group) {
		a := g.start("a", oneEach)
		merges := 0
		a.view.strike(func(c *fsmpb.Command) trouble {
			if m := c.GetMergeCuts(); m != nil {
				merges++
				x, _ := g.meta.now().state.Chain(fragment.Epoch(m.GetEpoch()))
				if x.State != fsm.ChainOpen || m.GetTo() > x.Cuts[len(x.Cuts)-1].From {
					g.Errorf("merge of [%d, %d) on %+v", m.GetFrom(), m.GetTo(), x)
				}
			}
			return none
		})
		a.writer(g.create("x", api.LogConfig{})).putCuts(100)
		require.GreaterOrEqual(g, merges, 5)
	})
}
