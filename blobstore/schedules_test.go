package blobstore_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd/testcluster/stores"
)

const (
	// schedulesEnv names one schedule, by its seed, to be run again.
	schedulesEnv = "WPD_TEST_SCHEDULE"
	// schedulesFake is how many are run without a real server.
	schedulesFake = 200
	// schedulesAtOnce is how many run at the same time: mostly they wait.
	schedulesAtOnce = 16
	// timeoutMin and timeoutMax bound the deadline of a first attempt.
	timeoutMin, timeoutMax = 80 * time.Millisecond, 400 * time.Millisecond
)

// schedulesReal is how many are run on each server: azurite is slow.
var schedulesReal = map[stores.Kind]int{stores.S3: 850, stores.GCS: 900, stores.Azure: 250}

// TestSchedules: random faults meet random creates on a server, and what each
// Create said holds of what the server has then: nil, ours is there;
// ExistsError, another's is; unknown, anything. It goes on to hold when all that
// was late has landed, and for a seal that comes last.
func TestSchedules(t *testing.T) {
	t.Run("fake", func(t *testing.T) { runSchedules(t, fakeServer(t), schedulesFake) })
	for _, kind := range stores.Kinds {
		t.Run(string(kind), func(t *testing.T) { runSchedules(t, realServer(t, kind), schedulesReal[kind]) })
	}
}

func runSchedules(t *testing.T, s server, n int) {
	seeds := make([]uint64, n)
	for i := range seeds {
		seeds[i] = rand.Uint64()
	}
	one := os.Getenv(schedulesEnv)
	if one != "" {
		seed, err := strconv.ParseUint(one, 10, 64)
		require.NoError(t, err)
		seeds = []uint64{seed}
	}
	f := newField(t, s)
	work := make(chan uint64)
	var group errgroup.Group
	for i := range min(schedulesAtOnce, len(seeds)) {
		c := f.crew(t, i%8 == 1)
		group.Go(func() error {
			for seed := range work {
				if err := c.run(t.Context(), newSchedule(seed, f.timeout)); err != nil {
					t.Errorf("%v\nrepeat with %s=%d go test -run '^%s$'", err, schedulesEnv, seed, t.Name())
				}
			}
			return nil
		})
	}
	for _, seed := range seeds {
		work <- seed
	}
	close(work)
	require.NoError(t, group.Wait())
	if one == "" {
		f.report(t, n)
	}
}
