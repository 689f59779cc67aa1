package cluster

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// TestNudge: a follower hears at once of what it has proposed, and of what others
// have, though nothing follows. Time is that of the bubble, where nothing but
// waiting takes any.
func TestNudge(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		g := newCrew(t, 3)
		lead := g.leader()
		x, y := g.others(lead)[0], g.others(lead)[1]
		for _, by := range []*mate{x, lead} {
			time.Sleep(time.Second) // nothing is under way
			changed, begin := y.Changed(), time.Now()
			_, err := by.Propose(t.Context(), fsm.NewCreateLog(createLog("of-"+by.identity)))
			require.NoError(t, err)
			<-changed
			require.Less(t, time.Since(begin), 10*nudgeAfter)
		}

		// Confirmations do not wait for it, and see it pass.
		_, err := x.Propose(t.Context(), fsm.NewCreateLog(createLog("last")))
		require.NoError(t, err)
		for _, z := range g.nodes {
			require.NoError(t, z.Confirm(t.Context()))
		}
		time.Sleep(time.Second)
		for _, z := range g.nodes {
			require.NoError(t, z.Confirm(t.Context()))
		}
		last := lead.raft.LastIndex()
		time.Sleep(time.Minute)
		require.Equal(t, last, lead.raft.LastIndex(), "nobody is nudged for nothing")

		// Who is to seal the chain of a node that is gone hears of it as soon.
		e := x.grant()
		x.crash()
		g.await(time.Minute, func() bool { return lead.chain(e).State == fsm.ChainSealing })
		g.await(10*nudgeAfter, func() bool { return y.chain(e).State == fsm.ChainSealing })
	})
}
