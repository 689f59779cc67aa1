package blobtest

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/filebucket"
)

// Mem is a store in memory. Close does nothing, so that a test can close what
// is on it and open it again. Use [NewMem].
type Mem struct {
	mu      sync.RWMutex
	objects map[string][]byte // contents are never changed in place
}

var _ blobstore.Raw = (*Mem)(nil)

// NewMem makes an empty store.
func NewMem() *Mem { return &Mem{objects: make(map[string][]byte)} }

// Create implements [blobstore.Raw].
func (m *Mem) Create(ctx context.Context, key string, parts [][]byte) error {
	if err := filebucket.CheckKey(key); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	body := bytes.Join(parts, nil)
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[key]; ok {
		return fmt.Errorf("create %s: %w", key, fs.ErrExist)
	}
	m.objects[key] = body
	return nil
}

// ReadRange implements [blobstore.Raw].
func (m *Mem) ReadRange(ctx context.Context, key string, offset, length int64) ([]byte, int64, error) {
	if ctx.Err() != nil {
		return nil, 0, context.Cause(ctx)
	}
	if offset < 0 || length < 0 {
		return nil, 0, fmt.Errorf("read %s: negative range", key)
	}
	m.mu.RLock()
	body, ok := m.objects[key]
	m.mu.RUnlock()
	if !ok {
		return nil, 0, fmt.Errorf("read %s: %w", key, fs.ErrNotExist)
	}
	size := int64(len(body))
	from := min(offset, size)
	return bytes.Clone(body[from : from+min(length, size-from)]), size, nil
}

// List implements [blobstore.Raw].
func (m *Mem) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, key := range m.Keys(prefix) {
			if ctx.Err() != nil {
				yield("", context.Cause(ctx))
				return
			}
			if key > after && !yield(key, nil) {
				return
			}
		}
	}
}

// Delete implements [blobstore.Raw].
func (m *Mem) Delete(ctx context.Context, key string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[key]; !ok {
		return fmt.Errorf("delete %s: %w", key, fs.ErrNotExist)
	}
	delete(m.objects, key)
	return nil
}

// Close does nothing.
func (m *Mem) Close() error { return nil }

// Keys returns the keys with a prefix, in order.
func (m *Mem) Keys(prefix string) []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var keys []string
	for key := range m.objects {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Object returns a copy of an object, and whether there is one.
func (m *Mem) Object(key string) ([]byte, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	body, ok := m.objects[key]
	return bytes.Clone(body), ok
}

// Put stores an object, whatever was there: a store that loses or swaps bytes
// behind our back.
func (m *Mem) Put(key string, body []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objects[key] = bytes.Clone(body)
}

// Lose drops an object behind our back, and reports whether there was one.
func (m *Mem) Lose(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.objects[key]
	delete(m.objects, key)
	return ok
}

// Clone returns a store with the same objects, from then on independent: the
// bucket as it is at this moment, for a test to go two ways.
func (m *Mem) Clone() *Mem {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c := NewMem()
	for key, body := range m.objects {
		c.objects[key] = body
	}
	return c
}
