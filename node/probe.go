package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/wpd-io/wpd/blobstore"
)

// UnsafeBucketError: the bucket breaks a promise that wpd rests on. The node has
// written nothing there, but for what the check has made and removed.
type UnsafeBucketError struct {
	URL string // without secrets
	Err *blobstore.ProbeError
}

func (e *UnsafeBucketError) Error() string {
	return fmt.Sprintf("bucket %s would lose acknowledged entries: %v", e.URL, e.Err)
}

func (e *UnsafeBucketError) Unwrap() error { return e.Err }

// probe checks a bucket before anything rests on it.
func (c *Config) probe(ctx context.Context, b *blobstore.Bucket) error {
	err := b.Probe(ctx)
	broken, ok := errors.AsType[*blobstore.ProbeError](err)
	switch {
	case ok && !c.UnsafeBucket:
		return &UnsafeBucketError{URL: b.URL(), Err: broken}
	case ok:
		c.Logger.Warn("UNSAFE BUCKET: acknowledged entries will be lost on it, and no node can be kept from writing; it is used because UnsafeBucket is set",
			"bucket", b.URL(), "promise", broken.Promise, "saw", broken.Saw)
		return nil
	case err != nil:
		return &BucketError{URL: b.URL(), Err: err}
	case c.UnsafeBucket:
		c.Logger.Warn("an unsafe bucket would be accepted: this one has shown no flaw, take that setting back", "bucket", b.URL())
	}
	return nil
}
