package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
)

// clusterWorld is a cluster of three real processes.
func clusterWorld(t *testing.T) (*benchCluster, *world) {
	c, err := startBenchCluster(t.Context(), t.TempDir(), 3)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.close()) })
	_, err = c.settled(t.Context())
	require.NoError(t, err)
	return c, &world{t, []string{"--addr", c.addrs()}, ""}
}

// nodesOf lists the nodes as wpd cluster nodes does.
func nodesOf(w *world) (nodes []nodeJSON) {
	for line := range strings.Lines(w.ok("cluster", "nodes", "-o", "json")) {
		var n nodeJSON
		require.NoError(w.t, json.Unmarshal([]byte(line), &n))
		nodes = append(nodes, n)
	}
	return nodes
}

// writerOf is the node that writes a log.
func writerOf(w *world, log string) string {
	var l logJSON
	require.NoError(w.t, json.Unmarshal([]byte(w.ok("log", "show", log, "-o", "json")), &l))
	return l.Writer
}

// Every command of wpd cluster, on three real processes, with a load that never
// sees an error.
func TestClusterCommands(t *testing.T) {
	t.Parallel()
	c, w := clusterWorld(t)
	log, err := c.client.Create(t.Context(), "moving", wpd.LogConfig{})
	require.NoError(t, err)
	load, err := startSteady(t.Context(), log, 200)
	require.NoError(t, err)
	require.NoError(t, load.flows(t.Context()))

	nodes := nodesOf(w)
	require.Len(t, nodes, 3)
	leaders := 0
	for i, n := range nodes {
		require.Equal(t, c.nodes[i].name, n.Node)
		require.True(t, n.Lease)
		require.Equal(t, c.nodes[i].grpc, n.GRPC)
		require.NotEmpty(t, n.Raft)
		require.NotEmpty(t, n.Gossip)
		require.Len(t, n.Chains, 1)
		require.NotZero(t, n.Boot)
		if n.Role == "leader" {
			leaders++
		}
	}
	require.Equal(t, 1, leaders)
	require.Contains(t, w.ok("cluster", "status"), "3, 3 of them vote")

	first := writerOf(w, "moving")
	for _, n := range nodes {
		w.ok("cluster", "move", "moving", n.Node)
		require.Equal(t, n.Node, writerOf(w, "moving"))
		require.NoError(t, load.flows(t.Context()))
	}
	require.Contains(t, w.fails(exitNotFound, "cluster", "move", "moving", "n9"), "there are n1, n2, n3")
	require.Contains(t, w.fails(exitNotFound, "cluster", "move", "nothing", first), `log "nothing"`)

	drained := writerOf(w, "moving")
	w.ok("cluster", "drain", drained)
	require.NoError(t, load.flows(t.Context()))
	require.NotEqual(t, drained, writerOf(w, "moving"))
	w.ok("cluster", "fill", drained)

	var led struct{ Leader string }
	require.NoError(t, json.Unmarshal([]byte(w.ok("cluster", "transfer-leader", "-o", "json")), &led))
	require.NotEmpty(t, led.Leader)
	require.Contains(t, w.ok("cluster", "upgrade", "-o", "json"), `"feature_level":1`)

	file := filepath.Join(t.TempDir(), "metadata")
	w.ok("cluster", "snapshot", "save", file)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.NotZero(t, info.Size())
	require.Contains(t, w.fails(exitConflict, "cluster", "snapshot", "save", file), "exists")

	require.Contains(t, w.fails(exitUsage, "cluster", "remove", "n3"), "--yes")
	for load.count() <= 100 { // on a fast machine all of that is done in no time
		require.NoError(t, load.flows(t.Context()))
	}
	require.NoError(t, load.stop())
	require.NoError(t, load.verify(t.Context(), log))
}

// A node that is drained, stopped and removed is out for good, and says so.
func TestClusterRemove(t *testing.T) {
	t.Parallel()
	c, w := clusterWorld(t)
	w.ok("cluster", "drain", "n3")
	stopNodes(c.nodes[2:])
	require.Eventually(t, func() bool { return !nodesOf(w)[2].Lease }, clusterStartWait, 50*time.Millisecond)
	require.Contains(t, w.fails(exitUnavailable, "cluster", "drain", "n2", "--timeout", "5s"), "no majority")
	w.ok("cluster", "fill", "n2")
	w.ok("cluster", "remove", "n3", "--yes")
	require.Len(t, nodesOf(w), 2)
	again := c.nodes[2].again()
	said := &tailBuffer{most: 64 << 10}
	require.NoError(t, again.start(&lineWriter{w: said}))
	select {
	case <-again.ended:
	case <-again.ready:
		t.Fatal("a removed node serves")
	case <-time.After(clusterStartWait):
		t.Fatal("a removed node waits for ever")
	}
	require.Contains(t, said.String(), "removed")
}
