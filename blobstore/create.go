package blobstore

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"github.com/wpd-io/wpd/blobstore/filebucket"
)

// Create stores the concatenation of parts under key, if nothing is there.
//
//   - nil: exactly these bytes are there, and durable. If something was there
//     already, its length and its first and last 64 bytes are those of parts,
//     and it is taken for our own, from an attempt whose reply was lost.
//   - [ExistsError] (fs.ErrExist): something else is there, and nothing of ours.
//   - [KeyError] ([ErrKey]), [ErrTooLarge]: nothing was done.
//   - [UnknownError] ([ErrUnknown]): ctx ended first. The object may be there,
//     may not, or may still come.
//   - any other error wraps the context's cause: ctx ended before the first
//     attempt, which may have waited for the store to take one more request,
//     and nothing was done.
//
// Every other failure is retried with the same bytes until ctx ends, also such
// as denied access or a full disk, because somebody may mend them; the logger
// and the metric wpd_blobstore_creates_failing tell of them.
//
// parts must not change until Create returns; they are not changed by it.
func (b *Bucket) Create(ctx context.Context, key string, parts ...[]byte) error {
	if err := filebucket.CheckKey(key); err != nil {
		return err
	}
	if n := size(parts); n > ObjectBytesMax {
		return fmt.Errorf("create %s: %d bytes, more than %d: %w", key, n, int64(ObjectBytesMax), ErrTooLarge)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("create %s: nothing was sent: %w", key, context.Cause(ctx))
	}
	a := attempts{b: b, op: opCreate}
	defer b.recovered(&a)
	return b.create(ctx, &a, key, parts)
}

// create makes attempts until one settles the matter.
func (b *Bucket) create(ctx context.Context, a *attempts, key string, parts [][]byte) error {
	var last error
	for {
		err := a.try(ctx, func(ctx context.Context) error { return b.createOnce(ctx, key, parts) })
		switch {
		case err == nil:
			b.created(a, key, parts)
			return nil
		case errors.Is(err, ErrKey):
			return err
		case notSent(err) && a.made == 0:
			return fmt.Errorf("create %s: %w", key, err)
		case notSent(err):
			return &UnknownError{Key: key, Attempts: a.made, Last: last, Cause: context.Cause(ctx)}
		case throttled(err):
			// Reading back would be one more request; the next create tells.
		default:
			settled, rerr := b.settle(ctx, a, key, parts)
			if settled {
				return rerr
			}
			if rerr != nil {
				err = fmt.Errorf("%w; reading back: %w", err, rerr)
			}
		}
		b.failed(ctx, a, key, err)
		last = err
		if cause := a.wait(ctx, err); cause != nil {
			return &UnknownError{Key: key, Attempts: a.made, Last: err, Cause: cause}
		}
	}
}

// createOnce is one attempt.
func (b *Bucket) createOnce(ctx context.Context, key string, parts [][]byte) error {
	if b.hedges != nil {
		return b.createHedged(ctx, key, parts)
	}
	return b.raw.Create(ctx, key, parts)
}

// settle reads back what is there after a create that failed. It is settled if
// that is our own, or somebody else's, which is an error. Otherwise the error is
// that of reading.
func (b *Bucket) settle(ctx context.Context, a *attempts, key string, parts [][]byte) (settled bool, err error) {
	switch there, exists, err := b.readBack(ctx, key, parts); {
	case err != nil:
		return false, err
	case there == thereOurs:
		b.metrics.conflicts.WithLabelValues("own").Inc()
		b.created(a, key, parts)
		return true, nil
	case there == thereOther:
		b.metrics.conflicts.WithLabelValues("other").Inc()
		return true, exists
	}
	return false, nil
}

// failed counts and logs a failure that will be retried. The log doubles its
// steps, so that a store that is down for an hour costs a dozen lines.
func (b *Bucket) failed(ctx context.Context, a *attempts, key string, err error) {
	if !a.failing {
		b.metrics.failing.Inc()
		a.failing = true
	}
	if bits.OnesCount(uint(a.made)) == 1 {
		b.opts.Logger.WarnContext(ctx, "create failed, trying again", "key", key, "attempts", a.made, "err", err)
	}
}

// created counts a call that has succeeded.
func (b *Bucket) created(a *attempts, key string, parts [][]byte) {
	b.metrics.bytes.WithLabelValues(string(opCreate)).Add(float64(size(parts)))
	if a.made > 1 {
		b.opts.Logger.Info("create succeeded after failures", "key", key, "attempts", a.made)
	}
}

// recovered takes a call that ends out of the number of failing ones.
func (b *Bucket) recovered(a *attempts) {
	if a.failing {
		b.metrics.failing.Dec()
		a.failing = false
	}
}
