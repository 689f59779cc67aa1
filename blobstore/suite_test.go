package blobstore_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSuiteURL runs the suite on what URLs open: memory, files and, where
// WPD_TEST_BUCKET is the URL of a bucket to write to, that. Each test gets a
// prefix. TestSuiteStores has servers of its own.
func TestSuiteURL(t *testing.T) {
	urls := map[string]string{"mem": "mem://?prefix=p/", "file": "file://" + t.TempDir() + "?prefix=p/"}
	if u := os.Getenv("WPD_TEST_BUCKET"); u != "" {
		urls["environment"] = u
	}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) { runSuite(t, url) })
	}
}

func runSuite(t *testing.T, url string) {
	blobtest.Run(t, func(t *testing.T) blobstore.Raw { return blobstore.OpenRawForTest(t, url) })
}

// TestSuiteDriver runs the suite on files by way of gocloud alone, which is how
// others use our driver. TestSuiteURL has them by the short way.
func TestSuiteDriver(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blobstore.Raw { return blobstore.OpenDriverForTest(t, t.TempDir()) })
}
