package segment

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var seedFlag = flag.Uint64("seed", 0, "seed of the random worlds; 0 picks one")

// newRand returns a source whose seed a failing test prints, and takes back by
// -seed.
func newRand(t testing.TB) (*rand.Rand, uint64) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again with: -seed=%d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 1)), seed
}
