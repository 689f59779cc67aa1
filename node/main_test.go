package node_test

import (
	"flag"
	"math/rand/v2"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/wpd-io/wpd/fragment"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "the seed of all that is drawn; 0: a new one each time")
	exhaustive = flag.Bool("exhaustive", false, "every crash point, not a sample of them")
)

// seed returns the seed of a test, and tells it.
func seed(t testing.TB) uint64 {
	s := *seedFlag
	if s == 0 {
		s = rand.Uint64N(1 << 32)
	}
	t.Logf("seed %d: repeat with -run '^%s$' -seed %d", s, t.Name(), s)
	return s
}

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	// The zstd coders are made on first use and hold channels, which must not
	// belong to the bubble of whichever test comes first.
	var b fragment.BatchBuilder
	_ = b.Add(nil, make([]byte, 1000))
	if _, err := b.Finish(fragment.BatchMeta{Codec: fragment.CodecZstd}).Entries(); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(onStore{m})
}
