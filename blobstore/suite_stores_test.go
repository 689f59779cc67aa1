package blobstore_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/testcluster/stores"
)

// TestSuiteStores runs the suite on a real server of each kind.
func TestSuiteStores(t *testing.T) {
	stores.Each(t, func(t *testing.T, s *stores.Server) { runSuite(t, s.URL(t)) })
}

// TestLargeConflict: a server that refuses 15 MiB before it has read them may cut
// the connection in place of an answer. A create says the truth all the same.
func TestLargeConflict(t *testing.T) {
	stores.Each(t, func(t *testing.T, s *stores.Server) {
		b, err := blobstore.Open(t.Context(), s.URL(t), blobstore.Options{})
		require.NoError(t, err)
		defer func() { require.NoError(t, b.Close()) }()
		ours, theirs := bytes.Repeat([]byte("ours"), 15<<18), bytes.Repeat([]byte("them"), 15<<18)
		require.NoError(t, b.Create(t.Context(), "k", theirs))
		for range 5 {
			exists, ok := errors.AsType[*blobstore.ExistsError](b.Create(t.Context(), "k", ours))
			require.True(t, ok)
			require.EqualValues(t, len(theirs), exists.Size)
			require.NoError(t, b.Create(t.Context(), "k", theirs), "it is known for our own")
		}
	})
}
