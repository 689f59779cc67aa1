package blobstore

import (
	"crypto/rand"
	"testing"
)

// OpenRawForTest opens what is under a bucket, in a corner of its own that is
// emptied at the end.
func OpenRawForTest(t *testing.T, url string) Raw {
	b, err := Open(t.Context(), url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	raw := prefixed{b.raw, "test-" + rand.Text() + "/"}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return raw
}
