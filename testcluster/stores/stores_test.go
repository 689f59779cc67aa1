package stores_test

import (
	"fmt"
	"io/fs"
	"net"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/testcluster/stores"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestServers: a bucket of each server can be used, is a new one each time, and is
// gone while the server is.
func TestServers(t *testing.T) {
	for _, kind := range stores.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			s := stores.Start(t, kind)
			s.Setenv(t)
			require.Equal(t, kind, s.Kind())
			open := func(url string) *blobstore.Bucket {
				b, err := blobstore.Open(t.Context(), url, blobstore.Options{MaxAttempts: 1})
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, b.Close()) })
				return b
			}
			url := s.URL(t)
			b := open(url)
			require.NoError(t, b.Create(t.Context(), "a/b", []byte("body")))
			body, _, err := b.ReadRange(t.Context(), "a/b", 0, 10)
			require.NoError(t, err)
			require.Equal(t, "body", string(body))
			_, _, err = open(s.URL(t)).ReadRange(t.Context(), "a/b", 0, 10)
			require.ErrorIs(t, err, fs.ErrNotExist, "another bucket")

			s.Stop()
			s.Stop()
			_, err = net.Dial("tcp", s.Addr())
			require.Error(t, err)
			at := s.Addr()
			s.Restart(t)
			require.Equal(t, at, s.Addr())
			if kind == stores.S3 {
				_, _, err = open(url).ReadRange(t.Context(), "a/b", 0, 10)
				require.NoError(t, err)
			}
			require.NoError(t, open(s.URL(t)).Create(t.Context(), "a/b", []byte("body")))
		})
	}
}

// verdict is a test that may skip and fail, and tells of it.
type verdict struct {
	testing.TB
	skipped, failed string
}

func (v *verdict) Skip(args ...any) {
	v.skipped = fmt.Sprint(args...)
	runtime.Goexit()
}

func (v *verdict) Fatal(args ...any) {
	v.failed = fmt.Sprint(args...)
	runtime.Goexit()
}

// TestMissing: what is not installed is said to be missing, with the way to get
// it; where it is required, that is a failure.
func TestMissing(t *testing.T) {
	t.Setenv("WPD_TEST_STORES_DIR", t.TempDir())
	start := func(kind stores.Kind) *verdict {
		v := &verdict{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			stores.Start(v, kind)
		}()
		<-done
		return v
	}
	for kind, name := range map[stores.Kind]string{stores.S3: "versitygw", stores.Azure: "azurite", stores.GCS: "fake-gcs-server"} {
		t.Setenv("WPD_TEST_STORES", "")
		v := start(kind)
		require.Empty(t, v.failed)
		require.Contains(t, v.skipped, name)
		require.Contains(t, v.skipped, "make test-stores")
		t.Setenv("WPD_TEST_STORES", "required")
		v = start(kind)
		require.Empty(t, v.skipped)
		require.Contains(t, v.failed, "make test-stores")
	}
	require.Contains(t, start("ftp").failed, `no kind "ftp"`)
	t.Setenv("WPD_TEST_STORES", "off")
	require.Contains(t, start(stores.S3).skipped, "WPD_TEST_STORES=off")
}
