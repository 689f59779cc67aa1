package wal_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// TestReport: what a node tells of itself follows what is appended, by chain and
// by log, and forgets it within seconds.
func TestReport(t *testing.T) {
	inGroup(t, func(g *group) {
		a := g.node("a")
		hot, cold := g.create("hot", api.LogConfig{}), g.create("cold", api.LogConfig{Dedicated: true})
		o := a.producer(hot, "p")
		a.producer(cold, "p")
		load := func() map[fragment.LogID]wal.Owned {
			all := make(map[fragment.LogID]wal.Owned)
			for x := range a.Owned() {
				all[x.Log] = x
			}
			return all
		}
		require.Len(g, load(), 2)
		var r wal.Report
		data := string(make([]byte, 100<<10))
		for seq := range uint64(200) {
			a.send(hot, batch(o, seq+1, data)).at(fragment.LSN(seq) + 1)
			time.Sleep(100 * time.Millisecond)
			r = a.Report()
		}
		require.InEpsilon(g, 1000<<10, r.BytesPerSec, 0.1)
		require.Len(g, r.Chains, 2)
		require.Equal(g, r.BytesPerSec, r.Chains[0].BytesPerSec)
		require.EqualValues(g, 2, r.Logs)
		require.GreaterOrEqual(g, r.Chains[0].Durable, uint64(200))
		require.EqualValues(g, 1, r.Chains[0].Epoch)
		require.Equal(g, cold, r.Chains[1].Log)
		require.InEpsilon(g, 1000<<10, load()[hot].BytesPerSec, 0.1)
		require.Equal(g, "hot", load()[hot].Name)
		require.Zero(g, load()[cold].BytesPerSec)
		require.True(g, load()[cold].Dedicated)

		time.Sleep(5 * time.Second)
		require.InEpsilon(g, 1000<<10/2.718, a.Report().BytesPerSec, 0.15)
		time.Sleep(5 * time.Minute)
		require.Zero(g, a.Report().BytesPerSec)
		require.Zero(g, load()[hot].BytesPerSec)
		require.NoError(g, a.Release(g.Context(), hot))
		require.EqualValues(g, 1, a.Report().Logs)
		require.Len(g, load(), 1)
	}, "a", "b")
}
