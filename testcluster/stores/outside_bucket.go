package stores

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"math"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
)

// Bucket is a store for tests in bubbles: that of [Outside]. It can do what
// [blobtest.Mem] can, and its Close does nothing either. A call that is under way
// does not look at its ctx.
type Bucket struct {
	outside *Outside
	bucket  *blobstore.Bucket
	raw     blobstore.Raw
}

var _ blobstore.Raw = (*Bucket)(nil)

// Create implements [blobstore.Raw].
func (b *Bucket) Create(ctx context.Context, key string, parts [][]byte) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.outside.do(func(ctx context.Context) { err = b.raw.Create(ctx, key, parts) })
	return err
}

// ReadRange implements [blobstore.Raw].
func (b *Bucket) ReadRange(ctx context.Context, key string, offset, length int64) (data []byte, size int64, err error) {
	if ctx.Err() != nil {
		return nil, 0, context.Cause(ctx)
	}
	b.outside.do(func(ctx context.Context) { data, size, err = b.raw.ReadRange(ctx, key, offset, length) })
	return data, size, err
}

// List implements [blobstore.Raw].
func (b *Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if ctx.Err() != nil {
			yield("", context.Cause(ctx))
			return
		}
		keys, err := b.list(prefix, after)
		for _, key := range keys {
			if ctx.Err() != nil {
				yield("", context.Cause(ctx))
				return
			}
			if !yield(key, nil) {
				return
			}
		}
		if err != nil {
			yield("", err)
		}
	}
}

func (b *Bucket) list(prefix, after string) (keys []string, err error) {
	b.outside.do(func(ctx context.Context) {
		for key, e := range b.raw.List(ctx, prefix, after) {
			if err = e; err != nil {
				return
			}
			keys = append(keys, key)
		}
	})
	return keys, err
}

// Delete implements [blobstore.Raw].
func (b *Bucket) Delete(ctx context.Context, key string) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.outside.do(func(ctx context.Context) { err = b.raw.Delete(ctx, key) })
	return err
}

// Close does nothing, so that a test can close what is on it and open it again.
func (*Bucket) Close() error { return nil }

// CloseBucket closes the bucket.
func (b *Bucket) CloseBucket() (err error) {
	b.outside.do(func(context.Context) { err = b.bucket.Close() })
	return err
}

// The methods below panic where the store fails: there is nothing that a test
// could do about it.

// Keys is [blobtest.Mem.Keys].
func (b *Bucket) Keys(prefix string) []string {
	keys, err := b.list(prefix, "")
	must(err)
	return keys
}

// Object is [blobtest.Mem.Object].
func (b *Bucket) Object(key string) ([]byte, bool) {
	body, _, err := b.ReadRange(context.Background(), key, 0, math.MaxInt64)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	must(err)
	return body, true
}

// Put is [blobtest.Mem.Put].
func (b *Bucket) Put(key string, body []byte) {
	b.Lose(key)
	must(b.Create(context.Background(), key, [][]byte{body}))
}

// Lose is [blobtest.Mem.Lose].
func (b *Bucket) Lose(key string) bool {
	_, there := b.Object(key)
	if there {
		must(b.Delete(context.Background(), key))
	}
	return there
}

// Clone returns the bucket as it is now, in memory.
func (b *Bucket) Clone() *blobtest.Mem {
	mem := blobtest.NewMem()
	for _, key := range b.Keys("") {
		body, _ := b.Object(key)
		mem.Put(key, body)
	}
	return mem
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
