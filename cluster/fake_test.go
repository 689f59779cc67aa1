package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
)

// fakeBucket is a bucket in memory. before and after, where set, are called
// around each request with its number, from 1; their error becomes the
// request's, before or after it took effect.
type fakeBucket struct {
	before, after func(n int, op, key string) error

	mu       sync.Mutex
	objects  map[string][]byte
	requests int
}

var errStore = errors.New("the store is on fire")

func newBucket() *fakeBucket { return &fakeBucket{objects: map[string][]byte{}} }

func (b *fakeBucket) request(op, key string, f func() error) error {
	b.mu.Lock()
	b.requests++
	n := b.requests
	b.mu.Unlock()
	if b.before != nil {
		if err := b.before(n, op, key); err != nil {
			return err
		}
	}
	b.mu.Lock()
	err := f()
	b.mu.Unlock()
	if b.after != nil {
		if err := b.after(n, op, key); err != nil {
			return err
		}
	}
	return err
}

func (b *fakeBucket) Create(_ context.Context, key string, parts ...[]byte) error {
	body := bytes.Join(parts, nil)
	return b.request("create", key, func() error {
		if there, ok := b.objects[key]; ok && !bytes.Equal(there, body) {
			return fmt.Errorf("create %s: %w", key, fs.ErrExist)
		}
		b.objects[key] = body
		return nil
	})
}

func (b *fakeBucket) ReadRange(_ context.Context, key string, offset, length int64) (data []byte, size int64, err error) {
	err = b.request("read", key, func() error {
		there, ok := b.objects[key]
		if !ok {
			return fmt.Errorf("read %s: %w", key, fs.ErrNotExist)
		}
		size = int64(len(there))
		data = bytes.Clone(there[min(offset, size):min(offset+length, size)])
		return nil
	})
	return data, size, err
}

func (b *fakeBucket) List(_ context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		var keys []string
		err := b.request("list", prefix, func() error {
			keys = slices.Sorted(maps.Keys(b.objects))
			return nil
		})
		if err != nil {
			yield("", err)
			return
		}
		for _, key := range keys {
			if strings.HasPrefix(key, prefix) && key > after && !yield(key, nil) {
				return
			}
		}
	}
}

func (b *fakeBucket) put(key, body string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects[key] = []byte(body)
}

func (b *fakeBucket) keys(prefix string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	return keys
}
