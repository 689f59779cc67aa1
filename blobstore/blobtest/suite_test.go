package blobtest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMem(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blobstore.Raw { return blobtest.NewMem() })
}

// TestFaultsPassThrough: without rules the wrapper must not show.
func TestFaultsPassThrough(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blobstore.Raw { return blobtest.NewFaults(blobtest.NewMem()) })
}

func TestCrashFS(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blobstore.Raw { return blobtest.NewCrashFS().Bucket() })
}
