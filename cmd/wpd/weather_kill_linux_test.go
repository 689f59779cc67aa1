package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

// TestWeather is what can happen to a cluster of real processes under load: one
// scenario after the other, each with an audit of its own.
func TestWeather(t *testing.T) {
	t.Parallel()
	s := newSky(t, 3, nil)
	s.weather(t, "kill the writer", map[string]int{"kill": 1}, func(w *storm) {
		w.killAndGoOn(w.log("a"), w.writer(w.log("a")))
	})
	s.weather(t, "kill the leader", map[string]int{"kill": 1}, func(w *storm) {
		log := w.log("b")
		leader := w.leader()
		if leader == w.writer(log) {
			leader = w.lead(w.others(leader)[0])
		}
		w.killAndGoOn(log, leader)
	})
	s.weather(t, "kill the leader that writes", map[string]int{"kill": 1}, func(w *storm) {
		w.killAndGoOn(w.log("a"), w.lead(w.writer(w.log("a"))))
	})
	s.weather(t, "kill writer and leader", map[string]int{"kill": 2}, func(w *storm) {
		log := w.log("c")
		writer := w.writer(log)
		leader := w.lead(w.others(writer)[0])
		w.kill(writer, leader)
		w.fault("kill", 2)
		w.start(writer, leader)
		w.ackedTo(log, stormSome)
	})
	s.weather(t, "kill all", map[string]int{"kill": 3}, func(w *storm) {
		all := w.up()
		w.kill(all...)
		w.fault("kill", len(all))
		w.start(all...)
		w.acked(stormSome)
	})
	s.weather(t, "rolling restart", map[string]int{"restart": 3}, func(w *storm) {
		for _, i := range w.up() {
			before := w.member(i).GetBoot()
			w.stop(i)
			w.acked(stormSome)
			w.start(i)
			w.whole()
			require.Greater(w, w.member(i).GetBoot(), before)
			w.fault("restart", 1)
		}
	})
	s.weather(t, "a node is restored from an old copy and then wiped", map[string]int{"old copy": 1, "wipe": 1}, func(w *storm) {
		i := w.writer(w.log("a"))
		x, old := w.nodes[i], w.TempDir()
		before := w.member(i).GetIdentity()
		w.stop(i)
		require.NoError(w, os.CopyFS(old, os.DirFS(x.dir)))
		w.start(i)
		w.whole()
		w.acked(stormSome)
		w.kill(i)
		require.NoError(w, os.RemoveAll(x.dir))
		require.NoError(w, os.CopyFS(x.dir, os.DirFS(old)))
		require.Contains(w, w.refuses(i), "was copied, or restored from an older copy")
		w.fault("old copy", 1)
		require.NoError(w, os.RemoveAll(x.dir)) // with it goes who the node was
		w.start(i)
		w.whole()
		require.NotEqual(w, before, w.member(i).GetIdentity())
		w.fault("wipe", 1)
	})
	s.weather(t, "two more and one less", map[string]int{"join": 2, "removal": 1}, func(w *storm) {
		for range 2 {
			i := w.add()
			w.start(i)
			w.whole()
			w.fault("join", 1)
			w.acked(stormSome)
		}
		w.voters(3)
		gone := w.writer(w.log("a"))
		w.stop(gone)
		w.remove(gone)
		require.Contains(w, w.refuses(gone), "was removed from the cluster")
		w.fault("removal", 1)
		w.awaitOther(w.log("a"), gone)
		w.ackedTo(w.log("a"), stormSome)
	})
}

// killAndGoOn kills a node: a log goes on without it, and with it again.
func (w *storm) killAndGoOn(log string, i int) {
	w.Helper()
	w.kill(i)
	w.fault("kill", 1)
	w.awaitOther(log, i)
	w.ackedTo(log, stormSome)
	w.start(i)
	w.whole()
}

// member is a node as the cluster sees it.
func (w *storm) member(i int) (m *adminv1.Node) {
	w.Helper()
	w.await("a member of that name", func() bool {
		for _, n := range w.members() {
			if n.GetNodeId() == w.nodes[i].name {
				m = n
			}
		}
		return m != nil
	})
	return m
}
