package wal_test

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal"
)

// TestDedicatedThroughNode: logs of a node get and lose chains of their own
// under load, while it crashes and comes back with nothing but Raft's files. The
// ledger decides, by the last life and by the bucket alone.
func TestDedicatedThroughNode(t *testing.T) {
	s := seed(t)
	dir := t.TempDir()
	bubble.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(s, 0))
		w := &testcluster.World{
			Raw: blobtest.NewMem(), Dir: filepath.Join(dir, "node"),
			Config: node.Config{Log: wal.Config{Window: 4, FragmentBytes: 64 << 10, CutFragments: 8}},
		}
		l := testcluster.NewLedger(s, nil)
		load := testcluster.Load{
			Ledger: l, Logs: []string{"x", "y"}, Anonymous: 1, Named: 1, Exclusive: true, Conditional: true, Follow: true, InFlight: 8, Seed: s,
		}
		var switched, own int
		for load.Life = 1; load.Life <= 4; load.Life++ {
			p := w.Proc()
			p.Faults.Hook(func(ctx context.Context, op blobtest.Op) error {
				time.Sleep(time.Duration(30+op.N%197) * time.Millisecond)
				return nil
			})
			require.NoError(t, p.Open(t.Context()))
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- load.Run(ctx, p.Client()) }()
			for end := time.Now().Add(25 * time.Second); time.Now().Before(end); {
				time.Sleep(time.Duration(rnd.Int64N(int64(4 * time.Second))))
				log, err := p.Client().Log(ctx, load.AllLogs()[rnd.IntN(3)])
				if err != nil {
					continue
				}
				require.NoError(t, log.Configure(ctx, func(c *wpd.LogConfig) { c.Dedicated = !c.Dedicated }))
				switched++
			}
			own += len(p.Node.Logs().Report().Chains) - 1
			if load.Life%2 == 0 {
				p.Kill() // in the midst of it
			}
			cancel()
			require.NoError(t, <-done)
			p.Crash()
			require.NoError(t, testcluster.KeepRaftOnly(w.Dir))
		}
		require.Greater(t, switched, 20)
		require.Positive(t, own)
		p, err := w.Start(t.Context())
		require.NoError(t, err)
		var all []testcluster.Contents
		for _, name := range load.AllLogs() {
			log, err := p.Client().Log(t.Context(), name)
			require.NoError(t, err)
			c, err := testcluster.ReadBack(t.Context(), log, name, l)
			require.NoError(t, err)
			all = append(all, c)
		}
		expect := testcluster.Expect{AcknowledgedMin: 1000}
		require.NoError(t, testcluster.Check(l, all, expect).Err())
		require.NoError(t, p.Stop())
		all, err = testcluster.ReadBucket(t.Context(), blobstore.New(w.Raw, blobstore.Options{}), load.AllLogs(), l)
		require.NoError(t, err)
		require.NoError(t, testcluster.Check(l, all, expect).Err(), "from the bucket alone")
	})
}
