package wal_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/wal/api"
)

// TestElsewhere: whatever needs the writer of a log is sent to it, by name and
// address, and nothing is done.
func TestElsewhere(t *testing.T) {
	inGroup(t, func(g *group) {
		a, b := g.node("a"), g.node("b")
		id := g.create("x", api.LogConfig{})
		o := a.producer(id, "p")
		a.send(id, batch(o, 1, "one")).at(1)
		require.Equal(g, "a", g.owner(id))

		x := b.send(id, batch(o, 2, "two"))
		<-x.done
		elsewhere(g, x.err, "a")
		_, err := b.OpenProducer(g.Context(), api.OpenRequest{Log: id, Name: "p"})
		elsewhere(g, err, "a")
		_, err = b.OpenProducer(g.Context(), api.OpenRequest{Log: id, Exclusive: true})
		elsewhere(g, err, "a")
		elsewhere(g, b.Delete(g.Context(), id), "a")
		require.NoError(g, b.Release(g.Context(), id), "it does not write the log")

		info, err := a.Info(g.Context(), id)
		require.NoError(g, err)
		require.Equal(g, "a", info.Writer)
		require.Equal(g, a.Epoch(), info.Epoch)
		a.send(id, batch(o, 2, "two")).at(2)
		require.Equal(g, []string{"one", "two"}, g.contents(id))
	}, "a", "b")
}

// TestAttachRace: of two nodes that are asked at the same time, one gets the
// log, also if the other does not hear of it, and the other sends there.
func TestAttachRace(t *testing.T) {
	t.Run("at the same time", func(t *testing.T) {
		inGroup(t, func(g *group) {
			id := g.create("x", api.LogConfig{})
			errs := make(map[string]chan error)
			for _, m := range g.alive() {
				c := make(chan error, 1)
				errs[m.name] = c
				go func() {
					_, err := m.OpenProducer(g.Context(), api.OpenRequest{Log: id})
					c <- err
				}()
			}
			won := 0
			for name, c := range errs {
				err := <-c
				if err == nil {
					won++
					require.Equal(g, name, g.owner(id))
					continue
				}
				elsewhere(g, err, g.owner(id))
			}
			require.Equal(g, 1, won)
		}, "a", "b", "c")
	})
	t.Run("by an old view", func(t *testing.T) {
		inGroup(t, func(g *group) {
			a, b := g.node("a"), g.node("b")
			id := g.create("x", api.LogConfig{})
			b.view.freeze()
			first := b.send(id, batch(api.Opened{ID: 1 << 32, Epoch: 1}, 1, "b"))
			o := a.producer(id, "p")
			a.send(id, batch(o, 1, "a")).at(1)
			first.waits()
			b.view.thaw()
			<-first.done
			elsewhere(g, first.err, "a")
			require.Equal(g, []string{"a"}, g.contents(id))
		}, "a", "b")
	})
}
