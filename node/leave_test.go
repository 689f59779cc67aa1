package node_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// TestLeaveLeads: a leader that stops hands leadership over also where its logs
// can't be handed over in time: its store hangs.
func TestLeaveLeads(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var said lockedBuffer
		c := testcluster.New(t, 3, testcluster.WithLogger(slog.New(slog.NewTextHandler(&said, nil))))
		log, err := c.Client().Create(t.Context(), "a", wpd.LogConfig{})
		require.NoError(t, err)
		leader := c.Node(c.Leader())
		_, err = leader.Node().MoveLog(t.Context(), "a", leader.Name)
		require.NoError(t, err)
		w := openWriter(t, log)
		rule := leader.Faults.Add(blobtest.Fault{Kind: blobtest.Create, Prefix: "chains/", Hang: true})
		pending := w.AppendAsync(t.Context(), wpd.Entry{Data: []byte("x")})
		require.NoError(t, rule.Wait(t.Context(), 1))
		require.Error(t, leader.Stop(), "its chain has no end")
		require.Contains(t, said.String(), "not all logs were handed over")
		require.NotContains(t, said.String(), "leadership was not handed over")
		rule.Release()
		_, err = pending.Wait(t.Context())
		require.NoError(t, err, "another node has it")
	})
}
