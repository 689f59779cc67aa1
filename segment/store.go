package segment

import (
	"context"
	"iter"
)

// Store is the object store as a chain sees it. Safe for concurrent use.
type Store interface {
	// Create stores the parts, one after another, under key, if nothing is
	// there. nil means that these very bytes are there, durable; fs.ErrExist
	// that something else is. It repeats until it knows, so any other error
	// means that ctx ended and the outcome is unknown.
	Create(ctx context.Context, key string, parts ...[]byte) error
	// ReadRange returns up to length bytes from offset on, fewer only where
	// the object ends, and the size of the whole object. Errors:
	// fs.ErrNotExist.
	ReadRange(ctx context.Context, key string, offset, length int64) (data []byte, size int64, err error)
	// List yields the keys that start with prefix and come after the given
	// key, in order.
	List(ctx context.Context, prefix, after string) iter.Seq2[string, error]
}
