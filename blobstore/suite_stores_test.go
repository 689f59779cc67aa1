package blobstore_test

import (
	"testing"

	"github.com/wpd-io/wpd/testcluster/stores"
)

// TestSuiteStores runs the suite on a real server of each kind.
func TestSuiteStores(t *testing.T) {
	stores.Each(t, func(t *testing.T, s *stores.Server) { runSuite(t, s.URL(t)) })
}
