// Package rawlimit measures what an object store can do by itself: the driver
// that wpd uses, creating new objects and nothing else. It is what wpd's own
// speed is held against, by benches within a program and by a server for its
// clients. What it makes, it makes under a prefix, and removes when asked to.
package rawlimit

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd/blobstore"
)

// ScratchPrefix starts the keys of what a server makes for its clients: no
// object of wpd's own has such a key, and whatever is left there by a server
// that died may be deleted.
const ScratchPrefix = "scratch/"

// ObjectBytesMax is the size of the largest object that is made: that of a
// full fragment.
const ObjectBytesMax = 8 << 20

// headBytes is what tells objects apart: a store, or the code before it, may
// compare them.
const headBytes = 64

// Limit creates objects under a prefix, no key twice. Safe for concurrent use.
type Limit struct {
	bucket *blobstore.Bucket
	prefix string
	body   []byte       // random, of any object, behind its head
	made   atomic.Int64 // objects, numbered from 1; some may be missing
	gone   atomic.Int64 // the first of these were removed; <= made
}

// New prepares to create objects whose keys start with prefix, which nobody
// else may use. The bytes follow from seed.
func New(bucket *blobstore.Bucket, prefix string, seed uint64) *Limit {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	l := &Limit{bucket: bucket, prefix: prefix, body: make([]byte, ObjectBytesMax)}
	_, _ = rand.NewChaCha8(key).Read(l.body) // never fails
	return l
}

// Run says what is measured. It ends once Objects are there, or as soon as For
// has passed and at least ObjectsMin are.
type Run struct {
	ObjectBytes int // of each, 1 to ObjectBytesMax
	Concurrency int // creates at once, at least 1
	Objects     int
	ObjectsMin  int
	For         time.Duration // 0: no bound
}

// Result is what was measured.
type Result struct {
	Took    time.Duration
	Bytes   int64
	Creates []time.Duration // of single creates, in any order
}

// Run creates objects and measures it. Errors are those of Bucket.Create; what
// was made before is there until Remove.
func (l *Limit) Run(ctx context.Context, r Run) (Result, error) {
	g, ctx := errgroup.WithContext(ctx)
	var begun atomic.Int64
	var mu sync.Mutex
	result := Result{Creates: make([]time.Duration, 0, min(r.Objects, 4096))}
	start := time.Now()
	for range min(r.Concurrency, r.Objects) {
		g.Go(func() error {
			for {
				n := begun.Add(1)
				if n > int64(r.Objects) || r.For > 0 && n > int64(r.ObjectsMin) && time.Since(start) >= r.For {
					return nil
				}
				at := time.Now()
				if err := l.create(ctx, r.ObjectBytes); err != nil {
					return err
				}
				took := time.Since(at)
				mu.Lock()
				result.Creates = append(result.Creates, took)
				mu.Unlock()
			}
		})
	}
	err := g.Wait()
	result.Took = time.Since(start)
	result.Bytes = int64(len(result.Creates)) * int64(r.ObjectBytes)
	return result, err
}

func (l *Limit) create(ctx context.Context, bytes int) error {
	n := l.made.Add(1)
	head := make([]byte, headBytes)
	binary.LittleEndian.PutUint64(head, uint64(n))
	copy(head[8:], l.prefix)
	head = head[:min(headBytes, bytes)]
	if err := l.bucket.Create(ctx, l.key(n), head, l.body[:bytes-len(head)]); err != nil {
		return fmt.Errorf("raw limit: %w", err)
	}
	return nil
}

func (l *Limit) key(n int64) string { return fmt.Sprintf("%s%08d", l.prefix, n) }

// Remove removes all objects made, concurrency at once. It must not run while Run
// does.
func (l *Limit) Remove(ctx context.Context, concurrency int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	made := l.made.Load()
	for n := l.gone.Load() + 1; n <= made; n++ {
		g.Go(func() error { return l.bucket.Delete(ctx, l.key(n)) })
	}
	err := g.Wait()
	if err == nil {
		l.gone.Store(made)
	}
	return err
}

// Sweep removes all objects whose keys start with prefix, concurrency at once,
// and says how many there were.
func Sweep(ctx context.Context, bucket *blobstore.Bucket, prefix string, concurrency int) (int, error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrency)
	n := 0
	var failed error
	for key, err := range bucket.List(gctx, prefix, "") {
		if failed = err; err != nil {
			break
		}
		n++
		g.Go(func() error { return bucket.Delete(gctx, key) })
	}
	if err := g.Wait(); err != nil {
		return n, err
	}
	return n, failed
}
