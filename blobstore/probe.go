package blobstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

const (
	// probePrefix starts the keys that Probe makes and removes.
	probePrefix = "probe/"
	// probeCleanup bounds the removal of a probe's objects after the probe's
	// own context has ended.
	probeCleanup = 10 * time.Second
)

// Probe checks, with one small object that it removes, that the store keeps the
// promises that wpd rests on: a conditional create is honoured and leaves the
// first content, what was created can be read and listed at once, and what was
// deleted is gone. It returns a [*ProbeError] that names the broken promise, or
// another error if the store cannot be used at all or ctx ended; a create that
// keeps failing is tried until then, so ctx should have a deadline.
func (b *Bucket) Probe(ctx context.Context) error {
	key := probePrefix + rand.Text()
	first, second := []byte("first "+key), []byte("second "+key)
	err := b.probe(ctx, key, first, second)
	// The object goes also if the probe failed or was cut short.
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeCleanup)
	defer cancel()
	if derr := b.Delete(cctx, key); derr != nil {
		err = errors.Join(err, fmt.Errorf("remove the probe's object: %w", derr))
	}
	if err == nil {
		err = b.probeGone(ctx, key)
	}
	if err != nil {
		return fmt.Errorf("probe bucket %s: %w", b.url, err)
	}
	return nil
}

func (b *Bucket) probe(ctx context.Context, key string, first, second []byte) error {
	if err := b.Create(ctx, key, first); err != nil {
		return err
	}
	if err := b.probeContent(ctx, key, first, "an object can be read as soon as it was created"); err != nil {
		return err
	}
	if err := b.probeSecond(ctx, key, second); err != nil {
		return err
	}
	if err := b.probeContent(ctx, key, first, "a conditional create that fails leaves the object as it was"); err != nil {
		return err
	}
	return b.probeListed(ctx, key)
}

// probeContent checks that the object is there and as it was created.
func (b *Bucket) probeContent(ctx context.Context, key string, want []byte, promise string) error {
	data, size, err := b.ReadRange(ctx, key, 0, int64(len(want))+1)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &ProbeError{promise, "not found"}
	case err != nil:
		return err
	case !bytes.Equal(data, want):
		return &ProbeError{promise, fmt.Sprintf("%d bytes: %q", size, data)}
	}
	return nil
}

// probeSecond creates the same key again, until the store refuses it in so many
// words. The content is read afterwards, so that an attempt that was applied and
// said otherwise shows.
func (b *Bucket) probeSecond(ctx context.Context, key string, second []byte) error {
	err := b.bounded(ctx, opCreate, key, func(ctx context.Context) error {
		return b.raw.Create(ctx, key, [][]byte{second})
	})
	if err == nil {
		return &ProbeError{"a conditional create fails if the object exists", "a second create succeeded"}
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return fmt.Errorf("a second create was to be refused, but failed otherwise: %w", err)
}

func (b *Bucket) probeListed(ctx context.Context, key string) error {
	for got, err := range b.List(ctx, key, "") {
		if err != nil {
			return err
		}
		if got == key {
			return nil
		}
	}
	return &ProbeError{"an object is listed as soon as it was created", "not listed"}
}

func (b *Bucket) probeGone(ctx context.Context, key string) error {
	_, _, err := b.ReadRange(ctx, key, 0, 1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		return &ProbeError{"an object that was deleted is gone", "it can still be read"}
	}
	return err
}
