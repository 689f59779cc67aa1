package blobstore

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/wpd-io/wpd/blobstore/filebucket"
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

// TrustForTest makes a bucket of S3 trust a test's server.
func TrustForTest(b *Bucket, server *httptest.Server) {
	b.raw.(*s3Store).transport.http.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
}

// GoogleForTest makes a bucket of GCS reach a test's server at every address, and
// trust it.
func GoogleForTest(b *Bucket, server *httptest.Server) {
	t := b.raw.(*gcsStore).transport.http
	t.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	t.TLSClientConfig.ServerName = "example.com" // in the server's certificate
	t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	}
}

// OpenDriverForTest opens a directory as if nothing but gocloud knew what it is.
func OpenDriverForTest(t *testing.T, dir string) Raw {
	b, err := filebucket.OpenBucket(dir)
	if err != nil {
		t.Fatal(err)
	}
	raw := &cloud{bucket: b}
	t.Cleanup(func() {
		if err := raw.Close(); err != nil {
			t.Error(err)
		}
	})
	return raw
}
