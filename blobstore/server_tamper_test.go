package blobstore_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/testcluster/stores"
	"github.com/wpd-io/wpd/testcluster/tamper"
	"github.com/wpd-io/wpd/testcluster/tamper/fakes3"
)

// server is an object store behind HTTP, with a bucket in it.
type server struct {
	addr string
	url  string // of the bucket
	env  func(t testing.TB, addr string)
}

// fakeServer is an S3 in this process.
func fakeServer(t *testing.T) server {
	t.Helper()
	h := httptest.NewServer(fakes3.New())
	t.Cleanup(h.Close)
	addr := h.Listener.Addr().String()
	return server{addr, fakes3.URL(addr, "bucket"), func(t testing.TB, _ string) { fakes3.Setenv(t) }}
}

// realServer is a process; where it isn't installed, the test is skipped.
func realServer(t *testing.T, kind stores.Kind) server {
	t.Helper()
	s := stores.Start(t, kind)
	return server{s.Addr(), s.URL(t), s.SetenvVia}
}

// onServers runs a test on each server.
func onServers(t *testing.T, test func(t *testing.T, s server)) {
	t.Helper()
	t.Run("fake", func(t *testing.T) { test(t, fakeServer(t)) })
	for _, kind := range stores.Kinds {
		t.Run(string(kind), func(t *testing.T) { test(t, realServer(t, kind)) })
	}
}

// open opens the bucket, by way of addr. It is closed with the test.
func (s server) open(t *testing.T, addr string, opts blobstore.Options) *blobstore.Bucket {
	t.Helper()
	s.env(t, addr)
	b, err := blobstore.Open(t.Context(), s.urlVia(addr), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func (s server) urlVia(addr string) string { return strings.ReplaceAll(s.url, s.addr, addr) }

// proxy starts a proxy before the server, which ends with the test.
func (s server) proxy(t *testing.T) *tamper.Proxy {
	t.Helper()
	p, err := tamper.Start(s.addr, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// object reads a whole object.
func object(ctx context.Context, b *blobstore.Bucket, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	body, _, err := b.ReadRange(ctx, key, 0, blobstore.ObjectBytesMax)
	return body, err
}

// TestSuiteTamper runs the suite on the S3 that tests have in process, by way of
// a proxy that does nothing: neither must be noticed.
func TestSuiteTamper(t *testing.T) {
	s := fakeServer(t)
	p := s.proxy(t)
	s.env(t, p.Addr())
	blobtest.Run(t, func(t *testing.T) blobstore.Raw { return blobstore.OpenRawForTest(t, s.urlVia(p.Addr())) })
	require.Greater(t, p.Reached(), 100)
}
