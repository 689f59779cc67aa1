//go:build !race

// Not under the race detector: where a member's address changes, raft 1.7.3 writes
// the whole of followerReplication.peer under its lock, and updateLastAppended
// reads the ID in it without. What is written there is the ID that was there, so
// nothing comes of it but the report.

package cluster

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/testcluster/bubble"
)

// Everybody starts again at other addresses: gossip finds them, raft's
// configuration follows.
func TestAllMove(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newTown(t)
		nodes := w.form(3)
		proposeAt(t, nodes[0], "a")
		for _, n := range nodes {
			n.close()
		}
		for i, n := range nodes {
			n.ip = "10.0.1." + string(rune('1'+i))
			n.config.Network = w.net.host(n.ip)
			n.config.Listen, n.config.GossipListen, n.config.Info.GRPC = n.ip+":8071", n.ip+":8072", n.ip+":8070"
			n.config.Join = []string{"10.0.1.1:8072"}
		}
		w.startAll(nodes...)
		require.Equal(t, []string{"a"}, logNames(nodes[0].m()))
		w.eventually(func() bool {
			for _, i := range w.leader(nodes...).m().Members() {
				if i.Raft != w.nodes[i.Name].config.Listen {
					return false
				}
			}
			return true
		})
		require.Equal(t, voters("n1", "n2", "n3"), roles(nodes[0].m()))
	})
}
