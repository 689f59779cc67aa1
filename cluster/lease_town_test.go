package cluster

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// Leases over raft's own connections, with members that have no vote: all nodes
// hold theirs, the leader's death and a cut-off node's silence each end in a
// seal that a live node was asked for, and nobody else loses anything.
func TestLeaseInTown(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3)
		for _, name := range []string{"n4", "n5"} {
			n := w.node(name)
			w.startAll(n)
			nodes = append(nodes, n)
		}
		leases := map[*townNode]*Lease{}
		chains := map[*townNode]fragment.Epoch{}
		for _, n := range nodes {
			e, err := n.m().Grant(t.Context(), 8, 0)
			require.NoError(t, err)
			chains[n], leases[n] = e, n.m().Lease(e)
		}
		for range 120 {
			time.Sleep(time.Second)
			for _, n := range nodes {
				require.True(t, leases[n].Held(), n.name)
			}
		}
		sealer := func(at, n *townNode) (name string) {
			at.m().View(func(s *fsm.State) {
				if c, ok := s.Chain(chains[n]); ok && c.State == fsm.ChainSealing {
					sealer, _ := s.Node(c.Sealer)
					name = sealer.Name
				}
			})
			return name
		}
		// The leader dies, and with it its lease; then one without a vote.
		lead := w.leader(nodes...)
		voteless := nodes[4]
		var rest []*townNode
		for _, n := range nodes {
			if n != lead && n != voteless {
				rest = append(rest, n)
			}
		}
		lead.isolate(true)
		w.eventually(func() bool {
			held := leases[lead].Held()
			taken := sealer(rest[0], lead)
			require.False(t, held && taken != "", "both")
			return taken != ""
		})
		require.NotEqual(t, lead.name, sealer(rest[0], lead))
		voteless.isolate(true)
		w.eventually(func() bool { return sealer(rest[0], voteless) != "" })
		require.NotContains(t, []string{lead.name, voteless.name}, sealer(rest[0], voteless))
		require.False(t, leases[voteless].Held())
		for _, n := range rest {
			require.True(t, leases[n].Held(), n.name)
			require.Empty(t, sealer(rest[0], n))
		}
		// They come back to a cluster that goes on.
		lead.isolate(false)
		voteless.isolate(false)
		for _, n := range []*townNode{lead, voteless} {
			e, err := n.m().Grant(t.Context(), 8, 0)
			require.NoError(t, err)
			time.Sleep(10 * time.Second)
			require.True(t, n.m().Lease(e).Held())
			require.False(t, leases[n].Held())
		}
	})
}
