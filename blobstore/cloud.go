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
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// contentType is what objects are stored as. gocloud's Upload demands one, and
// nothing is to guess it from the bytes.
const contentType = "application/octet-stream"

// cloud is a store behind gocloud.
type cloud struct {
	bucket *blob.Bucket
	s3     *s3Put // nil: through gocloud
}

// Create goes through Upload: azureblob's NewWriter panics on a failed write,
// WriteAll hashes twice.
func (c *cloud) Create(ctx context.Context, key string, parts [][]byte) error {
	var err error
	if c.s3 != nil {
		err = c.s3.create(ctx, key, parts)
	} else {
		err = c.bucket.Upload(ctx, key, newPartsReader(parts), &blob.WriterOptions{
			ContentType: contentType,
			IfNotExist:  true,
			BufferSize:  bufferSize(size(parts)),
		})
	}
	switch gcerrors.Code(err) {
	case gcerrors.FailedPrecondition, gcerrors.AlreadyExists:
		return fmt.Errorf("%w: %w", fs.ErrExist, err)
	}
	return c.missing(err)
}

const (
	// bufferStep is what GCS rounds its chunk size up to.
	bufferStep = 256 << 10
	// bufferMin is the smallest part size that S3's upload takes.
	bufferMin = 5 << 20
)

// bufferSize makes the whole object one request: more than its bytes (Azure
// splits at equality), but no more than needed (GCS allocates it).
func bufferSize(n int64) int {
	return int(max(n/bufferStep+1, bufferMin/bufferStep) * bufferStep)
}

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
		return nil, 0, c.missing(err)
	case gcerrors.Canceled, gcerrors.DeadlineExceeded, gcerrors.PermissionDenied:
		return nil, 0, err
	}
	attrs, aerr := c.bucket.Attributes(ctx, key)
	if aerr != nil || offset < attrs.Size {
		return nil, 0, err
	}
	return []byte{}, attrs.Size, nil
}

// List asks S3 and GCS to start after the key; from Azure it reads and drops what
// comes before.
func (c *cloud) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		it := c.bucket.List(&blob.ListOptions{Prefix: prefix, BeforeList: func(as func(any) bool) error {
			var in3 *s3.ListObjectsV2Input
			var q *storage.Query
			switch {
			case after == "":
			case as(&in3):
				in3.StartAfter = &after
			case as(&q):
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
				yield("", c.missing(err))
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
	return c.missing(c.bucket.Delete(ctx, key))
}

// Close may be called again, unlike gocloud's.
func (c *cloud) Close() error {
	if err := c.bucket.Close(); err != nil && gcerrors.Code(err) != gcerrors.FailedPrecondition {
		return err
	}
	return nil
}

// missing adds fs.ErrNotExist where an object is missing. A missing bucket is
// something else: nothing may be concluded about the object.
func (c *cloud) missing(err error) error {
	if gcerrors.Code(err) != gcerrors.NotFound {
		return err
	}
	var s3err smithy.APIError
	var azerr *azcore.ResponseError
	switch {
	case c.bucket.ErrorAs(err, &s3err) && s3err.ErrorCode() == "NoSuchBucket",
		c.bucket.ErrorAs(err, &azerr) && azerr.ErrorCode == "ContainerNotFound",
		errors.Is(err, storage.ErrBucketNotExist):
		return fmt.Errorf("the bucket does not exist: %w", err)
	}
	return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
}

// newPartsReader reads the concatenation of parts, and can go back, which lets
// SDKs retry without a copy of their own.
func newPartsReader(parts [][]byte) io.Reader {
	if len(parts) == 1 {
		return bytes.NewReader(parts[0])
	}
	return &partsReader{parts: parts, size: size(parts)}
}
