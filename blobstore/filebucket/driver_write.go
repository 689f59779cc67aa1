package filebucket

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"gocloud.dev/blob/driver"
)

// ObjectBytesMax is the size of the largest object that a writer of
// [Bucket.Driver] takes, in bytes; blobstore takes no larger one either.
const ObjectBytesMax = 16<<20 - 1

// ErrTooLarge is wrapped by the error of a create of more than [ObjectBytesMax]
// bytes. Nothing was done.
var ErrTooLarge = errors.New("object too large")

// NewTypedWriter refuses what would be lost, but for the content type, which
// gocloud makes up where it is given none.
func (d *blobDriver) NewTypedWriter(ctx context.Context, key, _ string, opts *driver.WriterOptions) (driver.Writer, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	var not string
	switch {
	case !opts.IfNotExist:
		not = "never replaces an object: set IfNotExist"
	case len(opts.Metadata) > 0:
		not = "keeps no metadata"
	case cmp.Or(opts.CacheControl, opts.ContentDisposition, opts.ContentEncoding, opts.ContentLanguage) != "":
		not = "keeps no HTTP headers"
	}
	if not != "" {
		return nil, fmt.Errorf("create %q: a file bucket %s: %w", key, not, errors.ErrUnsupported)
	}
	if opts.BeforeWrite != nil {
		if err := opts.BeforeWrite(noAs); err != nil {
			return nil, err
		}
	}
	return &blobWriter{ctx: ctx, b: d.b, key: key}, nil
}

// blobWriter collects an object, which Close creates whole or not at all.
type blobWriter struct {
	ctx  context.Context // of the call that asked for the writer
	b    *Bucket
	key  string
	body bytes.Buffer
	err  error // the first failure; nothing is created then
}

// Write implements driver.Writer.
func (w *blobWriter) Write(p []byte) (int, error) {
	if w.err == nil && w.body.Len()+len(p) > ObjectBytesMax {
		w.err = fmt.Errorf("create %q: more than %d bytes: %w", w.key, ObjectBytesMax, ErrTooLarge)
	}
	if w.err != nil {
		return 0, w.err
	}
	return w.body.Write(p)
}

// Upload implements driver.Uploader: only so does a reader's failure become
// known. It leaves that to Close, whose error gocloud translates.
func (w *blobWriter) Upload(r io.Reader) error {
	_, err := io.Copy(w, r)
	w.err = cmp.Or(w.err, err)
	return nil
}

// Close creates the object, unless the context has ended or a write has failed.
func (w *blobWriter) Close() error {
	if w.err != nil {
		return w.err
	}
	return w.b.Create(w.ctx, w.key, [][]byte{w.body.Bytes()})
}
