package blobstore

import (
	"context"
	"iter"

	"github.com/wpd-io/wpd/blobstore/filebucket"
)

// ObjectBytesMax is the size of the largest object that can be created. From
// 16 MiB on S3 takes several requests, and the condition of the create guards
// only the last of them.
const ObjectBytesMax = filebucket.ObjectBytesMax

// Raw is a store without retries: each call is one attempt. It is the seam at
// which tests put faults. All methods may be called at the same time, and return
// soon after ctx has ended, except that system calls of a local file system
// cannot be interrupted. An error that wraps a [ThrottledError] makes the bucket
// send fewer requests at once.
type Raw interface {
	// Create stores the concatenation of parts under key if nothing is there,
	// atomically and durably. fs.ErrExist means that something is there,
	// whatever it is. [filebucket.ErrKey] means that no object can have this
	// key. After any other error the object may be there, may not, or may
	// still come. parts are read only until Create returns, and not changed.
	Create(ctx context.Context, key string, parts [][]byte) error

	// ReadRange returns the bytes [offset, offset+length) of an object, as
	// far as it has them, and the size of the whole object. An offset past
	// the end gives no data and no error. fs.ErrNotExist if there is no such
	// object. data belongs to the caller.
	ReadRange(ctx context.Context, key string, offset, length int64) (data []byte, size int64, err error)

	// List yields the keys that start with prefix and are greater than after,
	// in the order of their bytes. It ends after an error, which comes with
	// an empty key.
	List(ctx context.Context, prefix, after string) iter.Seq2[string, error]

	// Delete removes an object; fs.ErrNotExist, or nil where the store cannot
	// tell, if there is none.
	Delete(ctx context.Context, key string) error

	// Close frees what the store holds open. It may be called again.
	Close() error
}
