package node_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal"
)

// TestScrubRaisesNoFalseAlarm: three nodes scrub without a pause, while they are
// written to, cut and merge, are killed and stopped, take over and hand over, and
// logs are trimmed, made and deleted. None ever says that anything is wrong, until
// something is: then one does.
func TestScrubRaisesNoFalseAlarm(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const rounds = 2
		said, mem, seed := &lines{}, blobtest.NewMem(), seed(t)
		c := testcluster.New(t, 3, testcluster.WithSeed(seed), testcluster.WithStore(mem),
			testcluster.WithLinks(testcluster.Link{Delay: time.Millisecond}, testcluster.Link{Delay: 2 * time.Millisecond, Jitter: 4 * time.Millisecond}),
			testcluster.WithLogger(slog.New(slog.NewTextHandler(said, nil))),
			testcluster.WithConfig(func(_ int, n *node.Config) {
				n.Log = wal.Config{Window: 4, FragmentBytes: 64 << 10, CutFragments: 4, ScrubInterval: time.Second, ScrubBytesPerSec: 1 << 30}
			}))
		ledger := testcluster.NewLedger(seed, nil)
		logs := []string{"a", "b", "c"}
		var loads sync.WaitGroup
		ctx, end := context.WithCancel(t.Context())
		defer loads.Wait()
		defer end()
		loads.Go(func() {
			l := testcluster.Load{Ledger: ledger, Logs: logs, Anonymous: 1, Named: 1, Trim: true, Pause: time.Second, Seed: seed}
			if err := l.Run(ctx, c.Client()); err != nil {
				t.Errorf("load: %v", err)
			}
		})
		deleted := 0
		loads.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				time.Sleep(2 * time.Second)
				if makeAndDelete(ctx, c.Client(), fmt.Sprintf("short-lived-%d", i)) == nil {
					deleted++
				}
			}
		})
		for i := range rounds {
			want := ledger.Entries(testcluster.Acknowledged) + 100
			c.Await("appends", func() bool { return ledger.Entries(testcluster.Acknowledged) >= want })
			hit := c.Writer(logs[i%len(logs)])
			if i%2 == 0 {
				c.Kill(hit)
			} else {
				c.Stop(hit)
			}
			c.Await("another writer", func() bool { return c.Writer(logs[i%len(logs)]) != hit })
			scrubbedAgain(c)
			c.Start(hit)
			c.AwaitReady()
		}
		end()
		loads.Wait()
		scrubbedAgain(c)
		require.NotContains(t, said.take(), "level=ERROR msg=\"scrub")
		for _, i := range c.Up() {
			x := c.Node(i).Node().Logs().Scrub()
			require.Zero(t, x.ProblemsTotal, "%s: %v", c.Node(i).Name, x.Problems)
			require.Zero(t, x.Skipped)
		}
		require.NotZero(t, deleted)
		t.Logf("%d entries, %d logs deleted", ledger.Entries(testcluster.Acknowledged), deleted)
		merged := 0
		for e := range fragment.Epoch(100) {
			merged += len(indexes(mem, e, 16*4))
		}
		require.NotZero(t, merged, "no cuts were merged")
		trimmed, err := c.Client().Log(t.Context(), "c")
		require.NoError(t, err)
		info, err := trimmed.Info(t.Context())
		require.NoError(t, err)
		require.Greater(t, info.First, wpd.LSN(1), "nothing was trimmed")

		key := fragment.ChainKey(1, 0)
		mem.Put(key, []byte("hello"))
		scrubbedAgain(c)
		var named []string
		for _, i := range c.Up() {
			for _, p := range c.Node(i).Node().Logs().Scrub().Problems {
				named = append(named, p.Object)
			}
		}
		require.Equal(t, []string{key}, named)
	})
}

// makeAndDelete is the life of a log.
func makeAndDelete(ctx context.Context, c *wpd.Client, name string) error {
	log, err := c.Create(ctx, name, wpd.LogConfig{})
	if err != nil {
		return err
	}
	w, err := log.Writer(ctx)
	if err != nil {
		return err
	}
	for range 5 {
		if _, err := w.Append(ctx, []byte(name)); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	return errors.Join(w.Close(), c.Delete(ctx, name))
}

// scrubbedAgain waits until every node has gone over everything once more.
func scrubbedAgain(c *testcluster.Cluster) {
	for _, i := range c.Up() {
		logs := c.Node(i).Node().Logs()
		want := logs.Scrub().Passes + 2 // one is under way
		c.Await("a pass of "+c.Node(i).Name, func() bool { return logs.Scrub().Passes >= want })
	}
}
