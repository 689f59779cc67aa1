package blobstore

import (
	"context"
	"iter"
	"strings"
)

// prefixed is the part of a store whose keys start with a prefix, which it hides.
type prefixed struct {
	Raw
	prefix string
}

func (p prefixed) Create(ctx context.Context, key string, parts [][]byte) error {
	return p.Raw.Create(ctx, p.prefix+key, parts)
}

func (p prefixed) ReadRange(ctx context.Context, key string, offset, length int64) ([]byte, int64, error) {
	return p.Raw.ReadRange(ctx, p.prefix+key, offset, length)
}

func (p prefixed) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	if after != "" {
		after = p.prefix + after
	}
	return func(yield func(string, error) bool) {
		for key, err := range p.Raw.List(ctx, p.prefix+prefix, after) {
			if !yield(strings.TrimPrefix(key, p.prefix), err) {
				return
			}
		}
	}
}

func (p prefixed) Delete(ctx context.Context, key string) error {
	return p.Raw.Delete(ctx, p.prefix+key)
}
