package blobstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/wpd-io/wpd/blobstore/filebucket"
)

// Bucket is an object store made safe (see the package comment). All methods
// may be called at the same time.
type Bucket struct {
	raw     Raw
	url     string
	opts    Options
	metrics *metrics

	// Stores throttle what changes them and what reads them by different rules.
	writes, reads *limiter
	hedges        *hedges // nil: none
}

// New makes a bucket over any store. The bucket owns raw from then on: Close
// closes it.
func New(raw Raw, opts Options) *Bucket {
	opts = opts.withDefaults()
	m := newMetrics(opts.Registerer)
	b := &Bucket{raw: raw, opts: opts, metrics: m, writes: m.limiter("writes"), reads: m.limiter("reads")}
	if opts.HedgePercent > 0 {
		b.hedges = &hedges{share: float64(opts.HedgePercent) / 100}
	}
	return b
}

// limiter is the one that bounds an operation. None bounds a listing: its consumer
// may make requests between two keys, and would wait for itself.
func (b *Bucket) limiter(o op) *limiter {
	if o == opRead {
		return b.reads
	}
	return b.writes
}

// URL is what the bucket was opened with, without passwords and keys; empty for
// a bucket made by [New].
func (b *Bucket) URL() string { return b.url }

// Raw is what the bucket stands on, each call one attempt, without limits or
// metrics: for those that judge the store itself, as package doctor does, and for
// tests. It is closed with the bucket.
func (b *Bucket) Raw() Raw { return b.raw }

// Delete removes an object. It is no error if there is none. On return it is
// gone for good: on file:// also from the disk. Reads and listings of others may
// see it for a moment longer, as the store likes.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := filebucket.CheckKey(key); err != nil {
		return err
	}
	err := b.bounded(ctx, opDelete, key, func(ctx context.Context) error {
		return b.raw.Delete(ctx, key)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Close closes the store. Calls under way may fail. It may be called again.
func (b *Bucket) Close() error {
	if err := b.raw.Close(); err != nil {
		return fmt.Errorf("close bucket: %w", err)
	}
	return nil
}
