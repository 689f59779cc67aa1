package blobstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"

	"cloud.google.com/go/storage"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// contentType is what objects are stored as. gocloud's Upload demands one, and
// nothing is to guess it from the bytes.
const contentType = "application/octet-stream"

// cloud is a store behind gocloud: memory, GCS over gRPC, and, in tests, files by
// way of our driver.
type cloud struct{ bucket *blob.Bucket }

// Create goes through Upload: WriteAll hashes twice.
func (c *cloud) Create(ctx context.Context, key string, parts [][]byte) error {
	err := c.bucket.Upload(ctx, key, newPartsReader(parts), &blob.WriterOptions{
		ContentType: contentType,
		IfNotExist:  true,
		BufferSize:  bufferSize(size(parts)),
	})
	switch gcerrors.Code(err) {
	case gcerrors.FailedPrecondition, gcerrors.AlreadyExists:
		return fmt.Errorf("%w: %w", fs.ErrExist, err)
	}
	return c.meaning(err)
}

// bufferStep is what GCS rounds its chunk size up to.
const bufferStep = 256 << 10

// bufferSize makes the whole object one request: more than its bytes, but no
// more than needed, because GCS allocates it.
func bufferSize(n int64) int { return int((n/bufferStep + 1) * bufferStep) }

func (c *cloud) ReadRange(ctx context.Context, key string, offset, length int64) ([]byte, int64, error) {
	if ctx.Err() != nil { // memblob does not look
		return nil, 0, context.Cause(ctx)
	}
	if offset < 0 || length < 0 {
		return nil, 0, fmt.Errorf("negative range: offset %d, length %d", offset, length)
	}
	ask := length
	if length > ObjectBytesMax {
		ask = -1 // to the end; offset + length could overflow in a header
	}
	r, err := c.bucket.NewRangeReader(ctx, key, offset, ask, nil)
	if err != nil {
		return c.pastEnd(ctx, key, offset, err)
	}
	defer r.Close() // of what was only read
	size := r.Size()
	data := make([]byte, max(min(length, size-offset), 0))
	if n, err := io.ReadFull(r, data); err != nil {
		return nil, 0, fmt.Errorf("%d bytes of %d: %w", n, len(data), err)
	}
	return data, size, nil
}

// pastEnd tells a range past the end, which most stores refuse with a code of
// their own that gocloud does not translate, from other failures.
func (c *cloud) pastEnd(ctx context.Context, key string, offset int64, err error) ([]byte, int64, error) {
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return nil, 0, c.meaning(err)
	case gcerrors.Canceled, gcerrors.DeadlineExceeded, gcerrors.PermissionDenied:
		return nil, 0, err
	}
	attrs, aerr := c.bucket.Attributes(ctx, key)
	if aerr != nil || offset < attrs.Size {
		return nil, 0, err
	}
	return []byte{}, attrs.Size, nil
}

// List asks GCS to start after the key; from others it reads and drops what comes
// before.
func (c *cloud) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		it := c.bucket.List(&blob.ListOptions{Prefix: prefix, BeforeList: func(as func(any) bool) error {
			var q *storage.Query
			if after != "" && as(&q) {
				q.StartOffset = after
			}
			return nil
		}})
		for {
			if ctx.Err() != nil {
				yield("", context.Cause(ctx))
				return
			}
			obj, err := it.Next(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield("", c.meaning(err))
				return
			}
			if obj.Key > after && !yield(obj.Key, nil) {
				return
			}
		}
	}
}

func (c *cloud) Delete(ctx context.Context, key string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return c.meaning(c.bucket.Delete(ctx, key))
}

// Close may be called again, unlike gocloud's.
func (c *cloud) Close() error {
	if err := c.bucket.Close(); err != nil && gcerrors.Code(err) != gcerrors.FailedPrecondition {
		return err
	}
	return nil
}

// meaning adds what gocloud's codes mean to us, above all that an object is
// missing. A missing bucket is something else: nothing may be concluded about the
// object.
func (c *cloud) meaning(err error) error {
	if errors.Is(err, storage.ErrBucketNotExist) {
		return fmt.Errorf("%w: %w", errNoBucket, err)
	}
	switch code := gcerrors.Code(err); {
	case code == gcerrors.NotFound:
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case code == gcerrors.PermissionDenied:
		return fmt.Errorf("%w: %w", fs.ErrPermission, err)
	case code == gcerrors.ResourceExhausted && !diskFull(err): // our driver's code for that
		return &ThrottledError{Err: err}
	}
	return err
}

// newPartsReader reads the concatenation of parts, and can go back, so that no
// SDK needs a copy of its own.
func newPartsReader(parts [][]byte) io.ReadSeeker {
	if len(parts) == 1 {
		return bytes.NewReader(parts[0])
	}
	return &partsReader{parts: parts, size: size(parts)}
}
