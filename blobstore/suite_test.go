package blobstore_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
)

// TestMain looks for leaked goroutines, but for those of connections that the
// clouds' SDKs keep idle: these cannot be closed from here, and end after 90 s.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// TestSuiteURL runs the suite on what URLs open: memory, files and, where the
// environment names buckets to write to, clouds. Each test gets a prefix.
func TestSuiteURL(t *testing.T) {
	urls := map[string]string{"mem": "mem://?prefix=p/", "file": "file://" + t.TempDir() + "?prefix=p/"}
	for name, env := range map[string]string{"s3": "WPD_TEST_S3", "gs": "WPD_TEST_GS", "azblob": "WPD_TEST_AZBLOB"} {
		if u := os.Getenv(env); u != "" {
			urls[name] = u
		}
	}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			blobtest.Run(t, func(t *testing.T) blobstore.Raw { return blobstore.OpenRawForTest(t, url) })
		})
	}
}

// TestSuiteDriver runs the suite on files by way of gocloud alone, which is how
// others use our driver. TestSuiteURL has them by the short way.
func TestSuiteDriver(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blobstore.Raw { return blobstore.OpenDriverForTest(t, t.TempDir()) })
}
