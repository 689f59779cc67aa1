package doctor

import (
	"context"
	"errors"
	"io/fs"
	mathrand "math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// triesMax is how often something is tried that is one attempt by itself, and
	// triesPause the time before the second one; it triples with each more.
	triesMax   = 4
	triesPause = 50 * time.Millisecond
)

// tries makes attempts until one succeeds, or says that an object is there, or
// ctx has ended.
func tries(ctx context.Context, attempt func() error) error {
	pause := triesPause
	for n := 1; ; n++ {
		err := attempt()
		if err == nil || errors.Is(err, fs.ErrExist) || n == triesMax {
			return err
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C:
			pause *= 3
		}
	}
}

// each does something for all keys, some at a time, until one fails.
func each(ctx context.Context, keys []string, do func(ctx context.Context, key string) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(manyAtOnce)
	for _, key := range keys {
		g.Go(func() error { return do(ctx, key) })
	}
	return g.Wait()
}

// body is size random bytes that follow from the end of a key, which no two keys
// have in common.
func body(key string, size int) []byte {
	var seed [32]byte
	copy(seed[:], key[max(len(key)-len(seed), 0):])
	b := make([]byte, size)
	_, _ = mathrand.NewChaCha8(seed).Read(b) // never fails
	return b
}

// once is one attempt of a create.
func (x *exam) once(ctx context.Context, key string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return x.raw.Create(ctx, key, [][]byte{body})
}

// create creates an object, for which nobody else races.
func (x *exam) create(ctx context.Context, key string, size int) error {
	ctx, cancel := context.WithTimeout(ctx, 4*requestTimeout)
	defer cancel()
	return x.bucket.Create(ctx, key, body(key, size))
}
