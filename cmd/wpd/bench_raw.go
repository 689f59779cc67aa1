package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/fragment"
)

// rawLimit is the object store without wpd: the same driver, new objects.
type rawLimit struct {
	bucket *blobstore.Bucket
	prefix string
	window int
	body   []byte // of any object; each has a head of its own
	small  int    // bytes of a small object

	made atomic.Int64 // objects, numbered from 1
}

const (
	rawObjectBytes = fragment.FragmentBytes
	rawHeadBytes   = 64 // a driver may compare them
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
}

func newRawLimit(bucket *blobstore.Bucket, prefix string, window, small int, seed uint64) *rawLimit {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	r := &rawLimit{bucket: bucket, prefix: prefix, window: window, small: small, body: make([]byte, rawObjectBytes)}
	rand.NewChaCha8(key).Read(r.body) //nolint:errcheck // never fails
	return r
}

// measure creates large objects of about so many bytes, then small ones for
// a while.
func (r *rawLimit) measure(ctx context.Context, bytes int64, smallFor time.Duration) (*rawPart, error) {
	n := max(2*int64(r.window), (bytes+rawObjectBytes-1)/rawObjectBytes)
	p := &rawPart{bytes: n * rawObjectBytes}
	start, cpu := time.Now(), processCPU()
	if err := r.large(ctx, n); err != nil {
		return nil, err
	}
	p.took, p.cpu = time.Since(start), processCPU()-cpu
	small, err := r.measureSmall(ctx, smallFor)
	p.small = small
	return p, err
}

// measureSmall creates small objects one at a time for a while.
func (r *rawLimit) measureSmall(ctx context.Context, d time.Duration) (*hdrhistogram.Histogram, error) {
	h := newLatencies()
	for i, start := 0, time.Now(); i < smallMin || i < smallMax && time.Since(start) < d; i++ {
		at := time.Now()
		if err := r.create(ctx, r.small); err != nil {
			return nil, err
		}
		record(h, int64(time.Since(at)))
	}
	return h, nil
}

// large creates n objects, window at once.
func (r *rawLimit) large(ctx context.Context, n int64) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(int64(r.window), n) {
		g.Go(func() error {
			for next.Add(1) <= n {
				if err := r.create(ctx, rawObjectBytes); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (r *rawLimit) create(ctx context.Context, bytes int) error {
	n := r.made.Add(1)
	head := make([]byte, rawHeadBytes)
	copy(head, r.prefix)
	binary.LittleEndian.PutUint64(head[rawHeadBytes-8:], uint64(n))
	if err := r.bucket.Create(ctx, r.key(n), head, r.body[:bytes-rawHeadBytes]); err != nil {
		return fmt.Errorf("raw limit: %w", err)
	}
	return nil
}

func (r *rawLimit) key(n int64) string { return fmt.Sprintf("%s%08d", r.prefix, n) }

// remove removes all objects made.
func (r *rawLimit) remove(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(8, r.window))
	for n := range r.made.Load() {
		g.Go(func() error { return r.bucket.Delete(ctx, r.key(n+1)) })
	}
	return g.Wait()
}

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
