package node_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// TestRecoveryAlive: a cluster of which a node answers is not recovered, also if
// it answers only when all is prepared; nothing was done then.
func TestRecoveryAlive(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		mem := blobtest.NewMem()
		c := testcluster.New(t, 1, testcluster.WithStore(mem))
		log, err := c.Client().Create(t.Context(), "a", wpd.LogConfig{})
		require.NoError(t, err)
		put(t, openWriter(t, log), "x")
		s, err := c.Node(0).Node().Status(t.Context())
		require.NoError(t, err)
		c.Stop(0)
		keys := mem.Keys("")

		alive := true
		asked := func(_ context.Context, cluster, addr string) bool {
			require.Equal(t, s.GetClusterId(), cluster)
			require.Equal(t, "n1:7070", addr)
			return alive
		}
		open := func() (*node.Recovery, error) {
			return node.OpenRecovery(t.Context(), node.RecoverConfig{
				Store: blobstore.New(mem, blobstore.Options{}), DataDir: c.Node(0).Dir, Alive: asked,
			})
		}
		refused := func(err error) {
			t.Helper()
			var e *node.AliveError
			require.ErrorAs(t, err, &e)
			require.Equal(t, []string{"n1 at n1:7070"}, e.Nodes)
		}
		_, err = open()
		refused(err)
		require.Equal(t, keys, mem.Keys(""))

		alive = false
		r, err := open()
		require.NoError(t, err)
		report, err := r.Look(t.Context())
		require.NoError(t, err)
		require.NotNil(t, found(report, "a"))
		alive = true
		_, err = r.Run(t.Context())
		refused(err)
		require.NoError(t, r.Close())
		require.Equal(t, keys, mem.Keys(""))

		c.Start(0) // as if nobody had tried
		_, err = c.Client().Log(t.Context(), "a")
		require.NoError(t, err)
	})
}
