package wal_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// TestAppendNow: what a batch would have to wait for, and is about its log alone,
// it does not wait for: nothing is done then, and the batch can be appended all
// the same.
func TestAppendNow(t *testing.T) {
	inGroup(t, func(g *group) {
		a := g.node("a")
		now := func(id fragment.LogID, b fragment.Batch) (*sending, bool) {
			x := &sending{g: g, done: make(chan struct{})}
			tried, err := a.AppendNow(g.Context(), api.AppendRequest{Log: id, Batch: b}, x.settle)
			if err != nil {
				x.settle(api.Ack{}, err)
			}
			return x, tried
		}
		refuses := func(id fragment.LogID, b fragment.Batch) {
			g.Helper()
			inFlight := a.Stats().InFlightBytes
			x, tried := now(id, b)
			require.False(g, tried)
			x.waits() // it is not answered
			require.Equal(g, inFlight, a.Stats().InFlightBytes)
		}
		id, other := g.create("x", api.LogConfig{}), g.create("y", api.LogConfig{})
		o, p := a.producer(id, ""), a.producer(other, "")

		x, tried := now(id, batch(o, 1, "one"))
		require.True(g, tried)
		x.at(1)
		_, tried = now(id, fragment.Batch{})
		require.True(g, tried, "no log could take it")
		refuses(id, batch(o, 1, "one")) // it was stored: that this node still writes the log is not sure
		refuses(99, batch(o, 2, "two")) // no log that this node knows
		c := g.only("a")
		held := a.holdFrom(c.Epoch, 1)
		taken := a.send(id, batch(o, 2, "two"))
		taken.waits()
		released := a.release(id)
		released.waits()
		refuses(id, batch(o, 3, "three")) // it is being handed over
		y, tried := now(other, batch(p, 1, "other"))
		require.True(g, tried, "another log has nothing to do with that")
		held.Remove()
		held.Release()
		taken.at(2)
		released.is(nil)
		y.at(1)
		refuses(id, batch(o, 3, "three")) // nobody writes it
		a.send(id, batch(o, 3, "three")).at(3)
		a.send(id, batch(o, 1, "one")).at(1)
	}, "a")
}
