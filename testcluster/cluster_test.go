package testcluster

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// TestRun: what Fatalf, a panic or a cleanup complains of is told, with what was
// logged; cleanups run in reverse, and all of them.
func TestRun(t *testing.T) {
	var order []int
	err := Run("demo", func(t TB) {
		require.Equal(t, "demo", t.Name())
		dir := t.TempDir()
		require.DirExists(t, dir)
		t.Cleanup(func() {
			order = append(order, 1)
			require.Error(t, t.Context().Err())
		})
		t.Cleanup(func() { order = append(order, 2); panic("in a cleanup") })
		t.Logf("all is well so far")
		require.False(t, t.Failed())
		t.Fatalf("no %s", "more")
		order = append(order, 3)
	})
	require.ErrorContains(t, err, "demo: no more")
	require.ErrorContains(t, err, "in a cleanup")
	require.ErrorContains(t, err, "all is well so far")
	require.Equal(t, []int{2, 1}, order)
	require.NoError(t, Run("demo", func(t TB) { t.Logf("not told") }))
}

func TestJournal(t *testing.T) {
	j := newJournal()
	log := j.logger("n1", 0, nil).With("a", 1).WithGroup("g").With("b", 2)
	log.Debug("not kept")
	log.Info("kept", "c", 3)
	require.Regexp(t, `^ +0\.\d{3}s n1     INFO  kept a=1 g\.b=2 g\.c=3\n$`, j.String())
	log.Info("kept", "c", "not again within a second")
	for i := range journalMax + 1 {
		log.Info(fmt.Sprint("line ", i))
	}
	require.Regexp(t, `^2 earlier lines were dropped\n.* line 1 a=1 g.b=2\n`, j.String())
	require.Regexp(t, `line 400 a=1 g.b=2\n$`, j.String())
}

// TestClusterOfOne drives all of the harness that one node can show, in a
// bubble and in real time.
func TestClusterOfOne(t *testing.T) {
	drive := func(t *testing.T) {
		c := New(t, 1)
		l := NewLedger(1, nil)
		load := Load{Ledger: l, Logs: []string{"a", "b"}, Anonymous: 1, Named: 1, Follow: true, Seed: 1}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- load.Run(ctx, c.Client()) }()
		enough := func(n int) {
			t.Helper()
			n += l.Entries(Acknowledged)
			c.Await("acknowledgements", func() bool { return l.Entries(Acknowledged) >= n })
		}
		enough(100)
		c.Kill(0)
		require.Empty(t, c.Up())
		c.Start(0)
		enough(100)
		c.Partition([]string{ClientHost}, c.Names(0))
		c.Await("something to be held", func() bool { return c.Net.Between(ClientHost, "n1").BytesHeld > 0 })
		c.Heal()
		enough(100)
		before := c.Net.around("n1")
		c.Pause(0)
		c.Await("something to be held", func() bool { return c.Net.around("n1").Since(before).Hit() > 0 })
		c.Resume(0)
		enough(100)
		require.Equal(t, map[string]int{"kill": 1, "cut": 1, "pause": 1}, c.Faults())
		cancel()
		require.NoError(t, <-done)
		c.Stop(0)
	}
	t.Run("bubble", func(t *testing.T) { bubble.Test(t, drive) })
	t.Run("real time", drive)
}

// TestAuditIsHardToPlease: a run that shows nothing does not pass, and neither
// does one with a fault that did nothing.
func TestAuditIsHardToPlease(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := New(t, 1)
		l := NewLedger(1, nil)
		refused := func(want string, expect Expect) {
			t.Helper()
			_, err := c.Audit(t.Context(), l, expect)
			require.ErrorContains(t, err, want)
		}
		refused("AcknowledgedMin is 0", Expect{})
		refused("no fault took effect", Expect{AcknowledgedMin: 1})
		c.Cut(Broken, ClientHost, "n1")
		refused("1 faults had no effect: [cut of [{client n1}]]", Expect{AcknowledgedMin: 1})
		c.Pause(0)
		refused("1 faults had no effect: [pause of n1]", Expect{AcknowledgedMin: 1})
		require.NoError(t, c.Node(0).Client().Close())
	})
}

// TestClusterSaysWhatCantBeDone: in words, to the test.
func TestClusterSaysWhatCantBeDone(t *testing.T) {
	for want, f := range map[string]func(c *Cluster){
		"start n1: it runs already":           func(c *Cluster) { c.Start(0) },
		"stop n1: it does not run":            func(c *Cluster) { c.Stop(0); c.Stop(0) },
		"kill n1: it does not run":            func(c *Cluster) { c.Kill(0, 0) },
		"wipe n1: it runs":                    func(c *Cluster) { c.Wipe(0) },
		"save directory of n1: it runs":       func(c *Cluster) { c.SaveDir(0) },
		"restore directory of n1: it runs":    func(c *Cluster) { c.RestoreDir(0, "") },
		"there is no node 1, there are 1":     func(c *Cluster) { c.Node(1) },
		"n1 does not run":                     func(c *Cluster) { c.Kill(0); c.Node(0).Client() },
		"waited in vain for what never comes": func(c *Cluster) { c.Await("what never comes", func() bool { return false }) },
		"start n1: open node: open cluster memb": func(c *Cluster) {
			c.Stop(0)
			old := c.SaveDir(0)
			c.Start(0)
			c.Kill(0)
			c.RestoreDir(0, old)
			c.Start(0)
		},
	} {
		t.Run(want, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				err := Run("it", func(t TB) { f(New(t, 1)) })
				require.ErrorContains(t, err, "it: testcluster: "+want)
				require.ErrorContains(t, err, "the nodes of it, seed 1, at last:\n")
			})
		})
	}
	require.ErrorContains(t, Run("it", func(t TB) { New(t, 6) }), "6 nodes, want 1 to 5")
}

// TestRunningNodeKeepsItsDirectory: what is refused is not done either.
func TestRunningNodeKeepsItsDirectory(t *testing.T) {
	for name, f := range map[string]func(c *Cluster){
		"wipe":    func(c *Cluster) { c.Wipe(0) },
		"restore": func(c *Cluster) { c.RestoreDir(0, c.dir) },
	} {
		bubble.Test(t, func(t *testing.T) {
			var left []os.DirEntry
			err := Run("it", func(t TB) {
				c := New(t, 1)
				defer func() { left, _ = os.ReadDir(c.Node(0).Dir) }() // none if it is gone
				f(c)
			})
			require.ErrorContains(t, err, "it runs", name)
			require.NotEmpty(t, left, name)
		})
	}
}

// TestAuditCatches: a fragment that the store has lost is missed through a node
// that has not seen it before, and from the bucket alone.
func TestAuditCatches(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		mem := blobtest.NewMem()
		c := New(t, 3, WithStore(mem))
		l := NewLedger(1, nil)
		load := Load{Ledger: l, Logs: []string{"a"}, Anonymous: 1, Rounds: 50}
		require.NoError(t, load.Run(t.Context(), c.Client()))
		c.Kill(c.Writer("a"))
		expect := Expect{AcknowledgedMin: 50, Faults: map[string]int{"kill": 1}}
		_, err := c.Audit(t.Context(), l, expect)
		require.NoError(t, err)

		var chain []string // the longest
		for epoch := range fragment.Epoch(10) {
			if keys := mem.Keys(fragment.ChainPrefix(epoch)); len(keys) > len(chain) {
				chain = keys
			}
		}
		require.True(t, mem.Lose(chain[len(chain)/2]))
		c.Kill(c.Leader())
		_, err = c.Audit(t.Context(), l, expect)
		require.ErrorContains(t, err, "through n5, which is new")
		require.ErrorContains(t, err, "through the bucket alone")
	})
}
