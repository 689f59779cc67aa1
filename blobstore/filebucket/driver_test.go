package filebucket_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/gcerrors"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/blobstore/filebucket"
)

// ifNotExist is what every writer to a file bucket needs.
var ifNotExist = &blob.WriterOptions{IfNotExist: true, ContentType: "text/plain"}

// openBlobs opens a new directory by way of gocloud.
func openBlobs(t *testing.T) (b *blob.Bucket, dir string) {
	t.Helper()
	dir = t.TempDir()
	b, err := filebucket.OpenBucket(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b, dir
}

func TestDriverObject(t *testing.T) {
	b, dir := openBlobs(t)
	require.NoError(t, b.WriteAll(t.Context(), "d/k", []byte("content"), ifNotExist))
	file, err := os.Stat(filepath.Join(dir, "d", "k"))
	require.NoError(t, err)

	attrs, err := b.Attributes(t.Context(), "d/k")
	require.NoError(t, err)
	require.EqualValues(t, 7, attrs.Size)
	require.True(t, attrs.ModTime.Equal(file.ModTime()), "%v, the file says %v", attrs.ModTime, file.ModTime())
	require.NotEmpty(t, attrs.ContentType)

	// A reader outlives the name.
	r, err := b.NewRangeReader(t.Context(), "d/k", 2, 100, nil)
	require.NoError(t, err)
	require.NoError(t, b.Delete(t.Context(), "d/k"))
	require.EqualValues(t, 7, r.Size())
	require.True(t, r.ModTime().Equal(file.ModTime()))
	rest, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "ntent", string(rest))
	require.NoError(t, r.Close())

	// The file bucket below is the same one.
	var files *filebucket.Bucket
	require.True(t, b.As(&files))
	require.NoError(t, files.Create(t.Context(), "direct", [][]byte{[]byte("x")}))
	got, err := b.ReadAll(t.Context(), "direct")
	require.NoError(t, err)
	require.Equal(t, "x", string(got))
	var other *os.File
	require.False(t, b.As(&other))
}

// TestDriverHooks: each callback is called once, and its refusal is final.
func TestDriverHooks(t *testing.T) {
	b, _ := openBlobs(t)
	require.NoError(t, b.WriteAll(t.Context(), "k", nil, ifNotExist))
	calls, refusal := 0, error(nil)
	hook := func(as func(any) bool) error {
		calls++
		var i any
		require.False(t, as(&i))
		return refusal
	}
	for name, call := range map[string]func(key string) error{
		"read": func(string) error {
			r, err := b.NewReader(t.Context(), "k", &blob.ReaderOptions{BeforeRead: hook})
			if err == nil {
				err = r.Close()
			}
			return err
		},
		"write": func(key string) error {
			return b.WriteAll(t.Context(), key, nil, &blob.WriterOptions{IfNotExist: true, BeforeWrite: hook})
		},
		"list": func(string) error {
			_, err := b.List(&blob.ListOptions{BeforeList: hook}).Next(t.Context())
			return err
		},
		"delete": func(string) error {
			err := b.DeleteWithOptions(t.Context(), "k", &blob.DeleteOptions{BeforeDelete: hook})
			return errors.Join(err, b.WriteAll(t.Context(), "k", nil, ifNotExist))
		},
	} {
		calls, refusal = 0, errors.New("refused")
		require.ErrorIs(t, call("refused"), refusal, name)
		require.Equal(t, 1, calls, name)
		calls, refusal = 0, nil
		require.NoError(t, call("accepted"), name)
		require.Equal(t, 1, calls, name)
	}
	there, err := b.Exists(t.Context(), "refused")
	require.NoError(t, err)
	require.False(t, there)
}

// TestDriverCodes: what failed is told in gocloud's words, with ours inside.
func TestDriverCodes(t *testing.T) {
	b, _ := openBlobs(t)
	require.NoError(t, b.WriteAll(t.Context(), "there", []byte("first"), ifNotExist))
	write := func(key string, opts blob.WriterOptions) error {
		return b.WriteAll(t.Context(), key, []byte("x"), &opts)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		err  error
		code gcerrors.ErrorCode
		is   error
	}{
		{"lost create", write("there", blob.WriterOptions{IfNotExist: true}), gcerrors.FailedPrecondition, fs.ErrExist},
		{"read", second(b.ReadAll(t.Context(), "missing")), gcerrors.NotFound, fs.ErrNotExist},
		{"read below an object", second(b.ReadAll(t.Context(), "there/x")), gcerrors.NotFound, fs.ErrNotExist},
		{"attributes", second(b.Attributes(t.Context(), "missing")), gcerrors.NotFound, fs.ErrNotExist},
		{"delete", b.Delete(t.Context(), "missing"), gcerrors.NotFound, fs.ErrNotExist},
		{"overwrite", write("there", blob.WriterOptions{}), gcerrors.Unimplemented, errors.ErrUnsupported},
		{"unconditional", write("new", blob.WriterOptions{}), gcerrors.Unimplemented, errors.ErrUnsupported},
		{"metadata", write("new", blob.WriterOptions{IfNotExist: true, Metadata: map[string]string{"a": "b"}}), gcerrors.Unimplemented, errors.ErrUnsupported},
		{"header", write("new", blob.WriterOptions{IfNotExist: true, ContentEncoding: "gzip"}), gcerrors.Unimplemented, errors.ErrUnsupported},
		{"copy", b.Copy(t.Context(), "new", "there", nil), gcerrors.Unimplemented, errors.ErrUnsupported},
		{"sign", second(b.SignedURL(t.Context(), "there", nil)), gcerrors.Unimplemented, errors.ErrUnsupported},
		{"key", write("a//b", blob.WriterOptions{IfNotExist: true}), gcerrors.InvalidArgument, filebucket.ErrKey},
		{"key below an object", write("there/x", blob.WriterOptions{IfNotExist: true}), gcerrors.InvalidArgument, filebucket.ErrKey},
		{"wrong sum", write("new", blob.WriterOptions{IfNotExist: true, ContentMD5: []byte("no MD5")}), gcerrors.FailedPrecondition, gcerrors.ErrFailedPrecondition},
		{"canceled", b.WriteAll(gone, "new", nil, ifNotExist), gcerrors.Canceled, context.Canceled},
		{"canceled list", second(b.List(nil).Next(gone)), gcerrors.Canceled, context.Canceled},
	} {
		require.Equal(t, c.code, gcerrors.Code(c.err), "%s: %v", c.name, c.err)
		require.ErrorIs(t, c.err, c.is, c.name)
	}
	var bad *filebucket.KeyError
	require.True(t, b.ErrorAs(write("a//b", blob.WriterOptions{IfNotExist: true}), &bad))
	require.Equal(t, "a//b", bad.Key)
	var other *fs.PathError
	require.False(t, b.ErrorAs(write("a//b", blob.WriterOptions{IfNotExist: true}), &other))
	there, err := b.ReadAll(t.Context(), "there")
	require.NoError(t, err)
	require.Equal(t, "first", string(there))
	require.Equal(t, []string{"there 5"}, list(t, b, &blob.ListOptions{}, 10))
}

// second is the error of a call with two results.
func second[T any](_ T, err error) error { return err }

// TestDriverDiskCodes: what the disk says comes through.
func TestDriverDiskCodes(t *testing.T) {
	for cause, code := range map[error]gcerrors.ErrorCode{
		syscall.ENOSPC: gcerrors.ResourceExhausted,
		syscall.EDQUOT: gcerrors.ResourceExhausted,
		syscall.EACCES: gcerrors.PermissionDenied,
		syscall.EROFS:  gcerrors.PermissionDenied,
		syscall.EIO:    gcerrors.Unknown,
	} {
		c := blobtest.NewCrashFS()
		b := blob.NewBucket(c.Bucket().Driver())
		hits := 0
		fail := func(at blobtest.FSOp) {
			c.Hook(func(op blobtest.FSOp, _ string) error {
				if op != at {
					return nil
				}
				hits++
				return cause
			})
		}
		want := func(err error) {
			require.Equal(t, code, gcerrors.Code(err), "%v", err)
			require.ErrorIs(t, err, cause)
		}
		fail(blobtest.FSWrite)
		want(b.WriteAll(t.Context(), "k", []byte("x"), ifNotExist))
		fail(blobtest.FSOpen)
		want(second(b.ReadAll(t.Context(), "k")))
		want(second(b.Attributes(t.Context(), "k")))
		fail(blobtest.FSReadDir)
		want(second(b.List(nil).Next(t.Context())))
		require.Equal(t, 4, hits)
		require.NoError(t, b.Close())
	}
}

// TestDriverClosed: a writer that outlives its bucket fails, and not as one that
// lost.
func TestDriverClosed(t *testing.T) {
	b, err := filebucket.OpenBucket(t.TempDir())
	require.NoError(t, err)
	w, err := b.NewWriter(t.Context(), "k", ifNotExist)
	require.NoError(t, err)
	require.NoError(t, b.Close())
	err = w.Close()
	require.ErrorIs(t, err, filebucket.ErrClosed)
	require.Equal(t, gcerrors.Unknown, gcerrors.Code(err))
}

// TestDriverFailedWrite: a write that was cut short, is too large, or was given
// up leaves nothing.
func TestDriverFailedWrite(t *testing.T) {
	b, _ := openBlobs(t)
	broken := errors.New("broken")
	half := func() io.Reader { return io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)) }
	require.ErrorIs(t, b.Upload(t.Context(), "k", half(), ifNotExist), broken)

	for name, upload := range map[string]func(io.Reader) error{
		"upload": func(r io.Reader) error { return b.Upload(t.Context(), "k", r, ifNotExist) },
		"write": func(r io.Reader) error {
			w, err := b.NewWriter(t.Context(), "k", ifNotExist)
			require.NoError(t, err)
			_, err = io.Copy(w, r)
			require.ErrorIs(t, err, filebucket.ErrTooLarge)
			return w.Close()
		},
	} {
		endless := &counted{}
		err := upload(endless)
		require.ErrorIs(t, err, filebucket.ErrTooLarge, name)
		require.Equal(t, gcerrors.InvalidArgument, gcerrors.Code(err), name)
		require.Less(t, endless.bytes, 2*filebucket.ObjectBytesMax, name)
	}

	ctx, cancel := context.WithCancel(t.Context())
	w, err := b.NewWriter(ctx, "k", ifNotExist)
	require.NoError(t, err)
	_, err = w.Write([]byte("half"))
	require.NoError(t, err)
	cancel()
	require.ErrorIs(t, w.Close(), context.Canceled)

	require.Empty(t, list(t, b, &blob.ListOptions{}, 10))
	whole := bytes.Repeat([]byte{7}, filebucket.ObjectBytesMax)
	require.NoError(t, b.Upload(t.Context(), "k", bytes.NewReader(whole), ifNotExist))
	got, err := b.ReadAll(t.Context(), "k")
	require.NoError(t, err)
	require.True(t, bytes.Equal(whole, got))
}

// counted is a reader without an end that counts what was read of it.
type counted struct{ bytes int }

func (c *counted) Read(p []byte) (int, error) {
	c.bytes += len(p)
	return len(p), nil
}

// list returns what a bucket lists, page by page.
func list(t *testing.T, b *blob.Bucket, opts *blob.ListOptions, pageSize int) (got []string) {
	t.Helper()
	for token := blob.FirstPageToken; len(token) > 0; {
		page, next, err := b.ListPage(t.Context(), token, pageSize, opts)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page), pageSize)
		require.True(t, len(page) == pageSize || len(next) == 0, "a short page is not the last")
		require.Less(t, len(got), 1000, "the pages do not end")
		for _, o := range page {
			if o.IsDir {
				got = append(got, o.Key+" dir")
			} else {
				require.False(t, o.ModTime.IsZero(), o.Key)
				got = append(got, fmt.Sprintf("%s %d", o.Key, o.Size))
			}
		}
		token = next
	}
	return got
}

// TestDriverLists compares listings with those of gocloud's bucket in memory,
// over keys whose order is not that of a directory walk.
func TestDriverLists(t *testing.T) {
	files, _ := openBlobs(t)
	mem := memblob.OpenBucket(nil)
	defer mem.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "a.b", "a-b", "a0", "b", "ä", "zz"}
	for range 100 {
		key := names[rnd.IntN(len(names))] + "x"
		for range rnd.IntN(3) { // what ends in x is never a directory
			key = names[rnd.IntN(len(names))] + "/" + key
		}
		body := make([]byte, rnd.IntN(50))
		if there, err := mem.Exists(t.Context(), key); err != nil || there {
			require.NoError(t, err)
			continue
		}
		require.NoError(t, mem.WriteAll(t.Context(), key, body, ifNotExist))
		require.NoError(t, files.WriteAll(t.Context(), key, body, ifNotExist))
	}
	for _, prefix := range []string{"", "a", "a/", "a/a", "a/a/", "a/a.b/", "b", "ä/", "zz", "none", "/", "a//"} {
		for _, delimiter := range []string{"", "/", ".", "x", "b/a", "no"} {
			for _, pageSize := range []int{1, 2, 7, 100} {
				opts := &blob.ListOptions{Prefix: prefix, Delimiter: delimiter}
				require.Equal(t, list(t, mem, opts, pageSize), list(t, files, opts, pageSize),
					"prefix %q, delimiter %q, pages of %d", prefix, delimiter, pageSize)
			}
		}
	}
	require.Greater(t, len(list(t, files, &blob.ListOptions{}, 100)), 40)
}

// TestDriverFS has the standard library's test of file systems look at a bucket,
// which gocloud shows as one.
func TestDriverFS(t *testing.T) {
	files, err := filebucket.Open(t.TempDir())
	require.NoError(t, err)
	defer files.Close() // gocloud's are closed by their Sub
	b := blob.NewBucket(files.Driver())
	keys := []string{"a", "dir/b", "dir/sub/c", "dir/sub/d"}
	for _, key := range keys {
		require.NoError(t, b.WriteAll(t.Context(), key, []byte(key), ifNotExist))
	}
	require.NoError(t, fstest.TestFS(b, keys...))
}
