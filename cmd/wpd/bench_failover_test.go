package main

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/node"
)

// TestFailover kills the writer, twice, under load: once it leads as well.
func TestFailover(t *testing.T) {
	t.Parallel()
	r := benchSeveral[failoverResult](t, "failover --rounds 2 --rate 200")
	require.True(t, r.Verified)
	require.Equal(t, 2, r.Rounds)
	require.Equal(t, 1, r.Leaders)
	require.Equal(t, 1, r.Followers)
	require.Greater(t, r.Acknowledged, int64(100))
	require.Equal(t, float64(node.LeaseTTLDefault.Milliseconds()), r.TTL)
	for _, ms := range r.All {
		require.Greater(t, ms, 1000.0, "nothing takes over before a lease has lapsed: was anything killed?")
	}
}

// TestFailoverJSON: what a result is compared by, and its verdict, are among its
// fields.
func TestFailoverJSON(t *testing.T) {
	b, err := json.Marshal(failoverResult{Case: "failover", Nodes: 3, Rate: 500, Leading: 0.5, verification: verified(errors.New("gone"))})
	require.NoError(t, err)
	for _, field := range []string{`"nodes":3`, `"rate":500`, `"leading":0.5`, `"verified":false`, `"verify_problem":"gone"`} {
		require.Contains(t, string(b), field)
	}
}

// TestSteadyFails: who waits for an append to be acknowledged hears of the first
// that fails, and only of it.
func TestSteadyFails(t *testing.T) {
	w := benchWorld(t, true)
	c, err := wpd.Dial(t.Context(), w.flags[1])
	require.NoError(t, err)
	log, err := c.Create(t.Context(), "log", wpd.LogConfig{})
	require.NoError(t, err)
	load, err := startSteady(t.Context(), log, 500)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	waited := make(chan error, 1)
	go func() {
		_, err := load.after(ctx, time.Now().Add(time.Hour)) // never
		waited <- err
	}()
	require.NoError(t, load.flows(ctx))
	require.NoError(t, c.Delete(t.Context(), "log"))
	err = <-waited
	require.ErrorIs(t, err, wpd.ErrDeleted)
	require.NoError(t, ctx.Err(), "it was told, and did not give up")
	for range 3 { // more of them fail
		load.mu.Lock()
		moved := load.moved
		load.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			t.Fatal("nobody is told of the next one")
		}
	}
	load.mu.Lock()
	require.Equal(t, err, load.err)
	load.mu.Unlock()
	require.ErrorIs(t, load.stop(), wpd.ErrDeleted)
	require.NoError(t, c.Close())
}
