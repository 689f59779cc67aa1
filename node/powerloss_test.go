package node_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// TestPowerLoss stops the file system under the bucket at every write, sync,
// link and mkdir in turn, with that one done or not, takes the power away (what
// was not synced is lost, or kept at random), and opens the node again on what
// is left. Raft's own files stay on a real disk, synced as Raft does; what a
// power loss does to them is between bbolt and that disk.
//
// Without -exhaustive it tries a sample of the operations.
func TestPowerLoss(t *testing.T) {
	s := seed(t)
	step := 12
	switch {
	case *exhaustive:
		step = 1
	case testing.Short():
		step = 60
	}
	kept := map[string]int{}
	k := 1 + int(s)%step
	for idle := 0; idle < 3; k += step {
		r := &powerRun{k: k, seed: s}
		bubble.Test(t, r.run)
		if t.Failed() {
			t.Fatalf("operation %d of seed %d", k, s)
		}
		if !r.struck {
			idle++
			continue
		}
		kept[r.what]++
	}
	t.Logf("operations up to %d, by %d: %v", k, step, kept)
	require.NotEmpty(t, kept)
}

// powerRun is one run of TestPowerLoss.
type powerRun struct {
	k      int
	seed   uint64
	struck bool
	what   string
}

func (c *powerRun) run(t *testing.T) {
	rnd := rand.New(rand.NewPCG(c.seed, uint64(c.k)))
	disk := blobtest.NewCrashFS()
	w := worldOn(t, nil)
	l := testcluster.NewLedger(c.seed, nil)
	load := testcluster.Load{
		Ledger: l, Logs: []string{"a", "b"}, Trim: c.k%2 == 1, Anonymous: 1, Named: 1, Conditional: true, Follow: true,
		Rounds: 3, InFlight: 8, Seed: c.seed,
	}
	applied := rnd.IntN(2) == 0
	left := c.k // of the operations until the stop, over all lives
	for load.Life = 1; load.Life <= 3; load.Life++ {
		before := disk.Ops()
		if !c.struck {
			disk.StopAt(before+left, applied)
		}
		w.Raw = disk.Bucket()
		p := w.Proc()
		p.Faults.Hook(func(ctx context.Context, op blobtest.Op) error {
			sleep(ctx, time.Duration(1+op.N%7)*time.Millisecond)
			if disk.Stopped() {
				p.Cut()
			}
			return nil
		})
		liveAndCrash(t, w, p, load)
		left -= disk.Ops() - before
		c.struck = c.struck || disk.Stopped()
		// Every crash is a power loss.
		switch rnd.IntN(3) {
		case 0:
			c.what = "nothing unsynced is left"
			disk = disk.PowerLoss(nil)
		default:
			c.what = "some of what was unsynced is left"
			disk = disk.PowerLoss(rnd)
		}
		_ = w.Raw.Close()
	}
	w.Raw = disk.Bucket()
	p := start(t, w)
	check(t, w, p, l, load.AllLogs(), testcluster.Expect{AcknowledgedMin: 10})
	_ = w.Raw.Close()
}
