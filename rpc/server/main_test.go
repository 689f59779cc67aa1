package server_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/wpd-io/wpd/fragment"
)

func TestMain(m *testing.M) {
	if os.Getenv(siegeEnv) != "" {
		os.Exit(besieged())
	}
	// The zstd coders are made on first use and hold channels, which must not
	// belong to the bubble of whichever test comes first.
	var b fragment.BatchBuilder
	_ = b.Add(nil, make([]byte, 1000))
	if _, err := b.Finish(fragment.BatchMeta{Codec: fragment.CodecZstd}).Entries(); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
