package blobstore_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore"
)

func TestOpenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ url, want string }{
		{"", "no scheme"},
		{"/var/lib/wpd", "no scheme"},
		{"ftp://x", `unknown scheme "ftp"`},
		{"file://var/lib/wpd", "three slashes"},
		{"file:relative", "absolute path"},
		{"file://", "absolute path"},
		{"file:///tmp/x?create_dir=1", "no parameter"},
		{"file://" + file, "not a directory"},
		{"file://" + file + "/below", "not a directory"},
		{"mem://name", "takes no name"},
		{"s3://", "no bucket name"},
		{"s3://bucket/path", "?prefix=path/"},
		{"gs://", "no bucket name"},
		{"s3://bucket?prefix=a", "does not end with a slash"},
		{"mem://?prefix=../x/", "has a part .."},
		{"s3://bucket?nonsense=1", "nonsense"},
		{"s3://user:secret@%zz", "open bucket"},
		{"s3://bucket?region=x;y", "open bucket"},
	} {
		b, err := blobstore.Open(t.Context(), c.url, blobstore.Options{})
		if err == nil {
			t.Errorf("Open(%q) succeeded: %v", c.url, b.Close())
			continue
		}
		if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("Open(%q) = %v, want %q in it", c.url, err, c.want)
		}
	}
}

func TestOpenPrefix(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "bucket")
	open := func(query string) *blobstore.Bucket {
		b, err := blobstore.Open(t.Context(), "file://"+dir+query, blobstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return b
	}
	part, whole := open("?prefix=p/q/"), open("")
	if err := part.Create(t.Context(), "k", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := whole.Create(t.Context(), "other", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		b    *blobstore.Bucket
		want []string
	}{{part, []string{"k"}}, {whole, []string{"other", "p/q/k"}}} {
		var got []string
		for key, err := range c.b.List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, key)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s lists %q, want %q", c.b.URL(), got, c.want)
		}
	}
	if want := "file://" + dir + "?prefix=p/q/"; part.URL() != want {
		t.Errorf("URL() = %q, want %q", part.URL(), want)
	}
}

// TestFileCopiesNothing: no create of a file passes through gocloud's writers,
// which hold the object once more.
func TestFileCopiesNothing(t *testing.T) {
	b, err := blobstore.Open(t.Context(), "file://"+t.TempDir(), blobstore.Options{})
	require.NoError(t, err)
	defer b.Close()
	head, body := make([]byte, 64), make([]byte, 8<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	require.NoError(t, b.Create(t.Context(), "k", head, body))
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), "bytes allocated for a create of 8 MiB")

	raw := blobstore.OpenDriverForTest(t, t.TempDir())
	runtime.ReadMemStats(&before)
	require.NoError(t, raw.Create(t.Context(), "k", [][]byte{head, body}))
	runtime.ReadMemStats(&after)
	require.Greater(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20), "the measure sees a copy where there is one")
}
