package filebucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"gocloud.dev/blob"
	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"
)

// contentType is what gocloud is told of every object: files keep no type.
const contentType = "application/octet-stream"

// OpenBucket is [Open] for code that works on gocloud's buckets; see
// [Bucket.Driver] for what such a bucket can do. Whoever closes it closes all.
func OpenBucket(dir string) (*blob.Bucket, error) {
	b, err := Open(dir)
	if err != nil {
		return nil, err
	}
	return blob.NewBucket(b.Driver()), nil
}

// Driver is the bucket as gocloud sees one. It promises what the bucket does,
// within what gocloud can say: a writer needs IfNotExist, because objects are
// never replaced, and holds the whole object in memory; its Close creates it,
// and tells one that loses by FailedPrecondition. Copies, signed URLs, metadata
// and headers are Unimplemented; content types are not kept. As hands out the
// *Bucket itself, for callers that want no byte copied.
func (b *Bucket) Driver() driver.Bucket { return &blobDriver{b} }

// blobDriver is a driver.Bucket. It adds nothing but translation.
type blobDriver struct{ b *Bucket }

// noAs is what gocloud's callbacks are handed: there is no request to change.
func noAs(any) bool { return false }

// ErrorCode says nothing of [ErrClosed]: the code that fits is the one by which
// callers know a create that lost.
func (d *blobDriver) ErrorCode(err error) gcerrors.ErrorCode {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return gcerrors.NotFound
	case errors.Is(err, fs.ErrExist):
		return gcerrors.FailedPrecondition
	case errors.Is(err, ErrKey), errors.Is(err, ErrTooLarge):
		return gcerrors.InvalidArgument
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return gcerrors.PermissionDenied
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return gcerrors.ResourceExhausted
	case errors.Is(err, errors.ErrUnsupported):
		return gcerrors.Unimplemented
	}
	return gcerrors.Unknown
}

// As hands out the bucket below.
func (d *blobDriver) As(i any) bool {
	p, ok := i.(**Bucket)
	if ok {
		*p = d.b
	}
	return ok
}

// ErrorAs hands out a [KeyError]; for causes further down errors.As on the
// error itself does.
func (d *blobDriver) ErrorAs(err error, i any) bool {
	p, ok := i.(**KeyError)
	return ok && errors.As(err, p)
}

// Attributes tells size and time of an object, which is durable then.
func (d *blobDriver) Attributes(ctx context.Context, key string) (*driver.Attributes, error) {
	f, info, err := d.b.openDurable(ctx, key)
	if err != nil {
		return nil, err
	}
	_ = f.Close() // of a file that was not even read
	return &driver.Attributes{ContentType: contentType, ModTime: info.ModTime, Size: info.Size}, nil
}

// NewRangeReader opens an object, which is durable then. The reader keeps the
// file, whatever becomes of its name.
func (d *blobDriver) NewRangeReader(ctx context.Context, key string, offset, length int64, opts *driver.ReaderOptions) (driver.Reader, error) {
	f, info, err := d.b.openDurable(ctx, key)
	if err != nil {
		return nil, err
	}
	if opts.BeforeRead != nil {
		if err := opts.BeforeRead(noAs); err != nil {
			_ = f.Close() // of a file that was not even read
			return nil, err
		}
	}
	left := max(info.Size-offset, 0)
	if length >= 0 {
		left = min(left, length)
	}
	return &blobReader{io.NewSectionReader(f, offset, left), f, info}, nil
}

// blobReader reads a range of an object.
type blobReader struct {
	io.Reader
	file File
	info Info
}

func (r *blobReader) Close() error { return r.file.Close() }

func (r *blobReader) Attributes() *driver.ReaderAttributes {
	return &driver.ReaderAttributes{ContentType: contentType, ModTime: r.info.ModTime, Size: r.info.Size}
}

func (r *blobReader) As(any) bool { return false }

// Copy is not there: gocloud's replaces what it meets.
func (d *blobDriver) Copy(_ context.Context, dstKey, srcKey string, _ *driver.CopyOptions) error {
	return fmt.Errorf("copy %q to %q: a file bucket never replaces an object: %w", srcKey, dstKey, errors.ErrUnsupported)
}

// Delete removes an object, durably.
func (d *blobDriver) Delete(ctx context.Context, key string, opts *driver.DeleteOptions) error {
	if opts.BeforeDelete != nil {
		if err := opts.BeforeDelete(noAs); err != nil {
			return err
		}
	}
	return d.b.Delete(ctx, key)
}

// SignedURL is not there: nobody serves the files.
func (d *blobDriver) SignedURL(_ context.Context, key string, _ *driver.SignedURLOptions) (string, error) {
	return "", fmt.Errorf("sign a URL of %q: nobody serves a file bucket: %w", key, errors.ErrUnsupported)
}

// Close closes the bucket itself.
func (d *blobDriver) Close() error { return d.b.Close() }
