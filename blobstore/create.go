package blobstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"

	"github.com/wpd-io/wpd/blobstore/filebucket"
)

// endBytes is how much of each end of an object is compared to tell ours from
// another's; what is written there must differ between writers (design: epoch,
// number, nonce, checksums).
const endBytes = 64

// Create stores the concatenation of parts under key, if nothing is there.
//
//   - nil: exactly these bytes are there, and durable. If something was there
//     already, its length and its first and last 64 bytes are those of parts,
//     and it is taken for our own, from an attempt whose reply was lost.
//   - [ExistsError] (fs.ErrExist): something else is there, and nothing of ours.
//   - [KeyError] ([ErrKey]), [ErrTooLarge]: nothing was done.
//   - [UnknownError] ([ErrUnknown]): ctx ended first. The object may be there,
//     may not, or may still come.
//   - any other error wraps the context's cause: ctx had ended before the first
//     attempt, and nothing was done.
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
	for {
		err := a.try(ctx, func(ctx context.Context) error { return b.raw.Create(ctx, key, parts) })
		if err == nil {
			b.created(&a, key, parts)
			return nil
		}
		if errors.Is(err, ErrKey) {
			b.recovered(&a)
			return err
		}
		switch there, exists, rerr := b.readBack(ctx, key, parts); {
		case rerr != nil:
			err = fmt.Errorf("%w; reading back: %w", err, rerr)
		case there == thereOurs:
			b.metrics.conflicts.WithLabelValues("own").Inc()
			b.created(&a, key, parts)
			return nil
		case there == thereOther:
			b.metrics.conflicts.WithLabelValues("other").Inc()
			b.recovered(&a)
			return exists
		}
		b.failed(ctx, &a, key, err)
		if cause := a.wait(ctx); cause != nil {
			b.recovered(&a)
			return &UnknownError{Key: key, Attempts: a.made, Last: err, Cause: cause}
		}
	}
}

// there says what a create's key holds.
type there int

const (
	thereNothing there = iota
	thereOurs
	thereOther
)

// readBack compares what is under key with parts: length and both ends.
func (b *Bucket) readBack(ctx context.Context, key string, parts [][]byte) (there, *ExistsError, error) {
	n := size(parts)
	got, has, err := b.readOnce(ctx, key, 0, endBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return thereNothing, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	other := &ExistsError{Key: key, Size: has, Head: got}
	if has != n || !bytes.Equal(got, head(parts)) {
		return thereOther, other, nil
	}
	if n > endBytes {
		got, has, err = b.readOnce(ctx, key, n-endBytes, endBytes)
		if errors.Is(err, fs.ErrNotExist) {
			return thereNothing, nil, nil // deleted between the two reads
		}
		if err != nil {
			return 0, nil, err
		}
		if has != n || !bytes.Equal(got, tail(parts)) {
			return thereOther, other, nil
		}
	}
	return thereOurs, nil, nil
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

// created ends a call that has succeeded.
func (b *Bucket) created(a *attempts, key string, parts [][]byte) {
	b.metrics.bytes.WithLabelValues(string(opCreate)).Add(float64(size(parts)))
	if a.made > 1 {
		b.opts.Logger.Info("create succeeded after failures", "key", key, "attempts", a.made)
	}
	b.recovered(a)
}

// recovered takes a call that ends out of the number of failing ones.
func (b *Bucket) recovered(a *attempts) {
	if a.failing {
		b.metrics.failing.Dec()
		a.failing = false
	}
}

// size is the length of the concatenation of parts, in bytes.
func size(parts [][]byte) int64 {
	var n int64
	for _, p := range parts {
		n += int64(len(p))
	}
	return n
}

// head returns the first bytes of the concatenation, at most endBytes.
func head(parts [][]byte) []byte {
	out := make([]byte, 0, endBytes)
	for _, p := range parts {
		out = append(out, p[:min(len(p), endBytes-len(out))]...)
	}
	return out
}

// tail returns the last bytes of the concatenation, at most endBytes.
func tail(parts [][]byte) []byte {
	out := make([]byte, endBytes)
	at := endBytes
	for i := len(parts) - 1; i >= 0 && at > 0; i-- {
		p := parts[i]
		n := min(len(p), at)
		at -= n
		copy(out[at:], p[len(p)-n:])
	}
	return out[at:]
}
