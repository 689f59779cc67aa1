// Package stores starts real object stores for tests: versitygw, which speaks
// S3, azurite, which speaks Azure Blob, and fake-gcs-server, which speaks Google
// Cloud Storage. Each is a process of its own on a port of its own, and ends with
// its test.
//
//	stores.Each(t, func(t *testing.T, s *stores.Server) {
//		b, err := blobstore.Open(t.Context(), s.URL(t), blobstore.Options{})
//		…
//	})
//
// A test in a bubble of testing/synctest gets to them by way of [Outside].
//
// The servers are not part of this module: [Install] puts pinned versions of them
// below [Dir], which is what
//
//	go run ./testcluster/stores/install
//
// does, and needs go, and, for azurite, npm and node. Where a server is not
// installed, Start skips the test and says so. With WPD_TEST_STORES=required in the
// environment it fails the test; with WPD_TEST_STORES=off no server is started.
//
// What these are not: none of them is a cloud. Only versitygw keeps objects on
// disk, without a sync; the others hold them in memory until they are stopped.
package stores
