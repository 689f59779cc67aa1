package node_test

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

// TestDrainAsksSeldom: a drain that waits for the others to be a majority asks
// the leader about once a second, for as long as it is let.
func TestDrainAsksSeldom(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		all := []*prometheus.Registry{prometheus.NewRegistry(), prometheus.NewRegistry(), prometheus.NewRegistry()}
		c := testcluster.New(t, 3, testcluster.WithConfig(func(i int, x *node.Config) { x.Registerer = all[i] }))
		leader := c.Leader()
		drained, gone := c.Node((leader+1)%3), (leader+2)%3
		c.Kill(gone)
		asked := func() (n float64) {
			families, err := all[leader].Gather()
			require.NoError(t, err)
			for _, f := range families {
				for _, m := range f.GetMetric() {
					for _, l := range m.GetLabel() {
						if f.GetName() == "wpd_rpc_calls_total" && l.GetValue() == "ClusterService/ListNodes" {
							n += m.GetCounter().GetValue()
						}
					}
				}
			}
			return n
		}
		c.Await("the dead node's lease to end", func() bool {
			nodes, err := c.Node(leader).Node().Nodes(t.Context())
			return err == nil && !nodes[gone].GetLeaseHeld()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		err := drained.Node().DrainNode(ctx, drained.Name, func(uint64) error { return nil })
		require.ErrorIs(t, err, api.ErrUnavailable)
		require.ErrorContains(t, err, "there would be no majority")
		require.InDelta(t, 20, asked(), 2)
	})
}
