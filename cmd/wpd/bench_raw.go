package main

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/rawlimit"
	"github.com/wpd-io/wpd/node/process"
)

// rawLimit is the object store without wpd: the same driver, new objects.
type rawLimit struct {
	limit  *rawlimit.Limit
	window int
	small  int // bytes of a small object
}

const (
	// smallBytes is a fragment that holds one entry of 1 KiB, as
	// docs/format.md lays it out.
	smallBytes = 1344
	// Small creates are measured for at most this long a round, if they are
	// not what counts, and for so many.
	smallTime = 300 * time.Millisecond
	smallMin  = 20
	smallMax  = 2000
)

// rawPart is what was measured of the store in one round.
type rawPart struct {
	bytes int64
	took  time.Duration
	cpu   time.Duration
	small *hdrhistogram.Histogram // ns of one small create

	missing string // why bytes and took, or all, are 0; "": they are not
	removed int64  // bytes of earlier rounds that a server removed before
}

func newRawLimit(bucket *blobstore.Bucket, prefix string, window, small int, seed uint64) *rawLimit {
	return &rawLimit{limit: rawlimit.New(bucket, prefix, seed), window: window, small: small}
}

// measure creates large objects of about so many bytes, then small ones for
// a while.
func (r *rawLimit) measure(ctx context.Context, bytes int64, smallFor time.Duration) (*rawPart, error) {
	const size = rawlimit.ObjectBytesMax
	cpu := process.CPU()
	large, err := r.limit.Run(ctx, rawlimit.Run{
		ObjectBytes: size, Concurrency: r.window, Objects: int(max(2*int64(r.window), (bytes+size-1)/size)),
	})
	if err != nil {
		return nil, err
	}
	p := &rawPart{bytes: large.Bytes, took: large.Took, cpu: process.CPU() - cpu}
	p.small, err = r.measureSmall(ctx, smallFor)
	return p, err
}

// measureSmall creates small objects one at a time for a while.
func (r *rawLimit) measureSmall(ctx context.Context, d time.Duration) (*hdrhistogram.Histogram, error) {
	small, err := r.limit.Run(ctx, rawlimit.Run{ObjectBytes: r.small, Concurrency: 1, Objects: smallMax, ObjectsMin: smallMin, For: max(d, 1)})
	if err != nil {
		return nil, err
	}
	h := newLatencies()
	for _, took := range small.Creates {
		record(h, int64(took))
	}
	return h, nil
}

// remove removes all objects made.
func (r *rawLimit) remove(ctx context.Context) error { return r.limit.Remove(ctx, max(8, r.window)) }

// slowStore is a store that answers late.
type slowStore struct {
	*blobstore.Bucket
	creates, others time.Duration
}

// newSlowStore makes a bucket out of another that answers later; it owns it.
func newSlowStore(b *blobstore.Bucket, creates, others time.Duration) *blobstore.Bucket {
	return blobstore.New(slowStore{b, creates, others}, blobstore.Options{})
}

func wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Create implements blobstore.Raw.
func (s slowStore) Create(ctx context.Context, key string, parts [][]byte) error {
	if err := wait(ctx, s.creates); err != nil {
		return err
	}
	err := s.Bucket.Create(ctx, key, parts...)
	if errors.Is(err, fs.ErrExist) {
		return fs.ErrExist
	}
	return err
}

// ReadRange implements blobstore.Raw.
func (s slowStore) ReadRange(ctx context.Context, key string, offset, length int64) ([]byte, int64, error) {
	if err := wait(ctx, s.others); err != nil {
		return nil, 0, err
	}
	return s.Bucket.ReadRange(ctx, key, offset, length)
}

// List implements blobstore.Raw.
func (s slowStore) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := wait(ctx, s.others); err != nil {
			yield("", err)
			return
		}
		s.Bucket.List(ctx, prefix, after)(yield)
	}
}

// Delete implements blobstore.Raw.
func (s slowStore) Delete(ctx context.Context, key string) error {
	if err := wait(ctx, s.others); err != nil {
		return err
	}
	return s.Bucket.Delete(ctx, key)
}
