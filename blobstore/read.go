package blobstore

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/wpd-io/wpd/blobstore/filebucket"
)

// ReadRange returns the bytes [offset, offset+length) of an object, as far as
// it has them, and the size of the whole object. An offset past the end gives no
// data and no error; a length past the end is cut, so that math.MaxInt64 reads
// to the end. data belongs to the caller. Memory is taken for what the object
// has, not for what was asked.
//
// fs.ErrNotExist if there is no such object. Other failures are retried up to
// MaxAttempts times; a store that returns fewer bytes than the object has fails
// with [ErrShort].
func (b *Bucket) ReadRange(ctx context.Context, key string, offset, length int64) (data []byte, size int64, err error) {
	if err := filebucket.CheckKey(key); err != nil {
		return nil, 0, err
	}
	if offset < 0 || length < 0 {
		return nil, 0, fmt.Errorf("read %s: negative range: offset %d, length %d", key, offset, length)
	}
	err = b.bounded(ctx, opRead, key, func(ctx context.Context) (err error) {
		data, size, err = b.readChecked(ctx, key, offset, length)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return data, size, nil
}

// readOnce is one attempt, for reading back.
func (b *Bucket) readOnce(ctx context.Context, key string, offset, length int64) (data []byte, size int64, err error) {
	a := attempts{b: b, op: opRead}
	err = a.try(ctx, func(ctx context.Context) (err error) {
		data, size, err = b.readChecked(ctx, key, offset, length)
		return err
	})
	return data, size, err
}

// readChecked reads and checks that nothing is missing.
func (b *Bucket) readChecked(ctx context.Context, key string, offset, length int64) ([]byte, int64, error) {
	data, size, err := b.raw.ReadRange(ctx, key, offset, length)
	if err != nil {
		return nil, 0, err
	}
	want := min(length, max(size-offset, 0))
	if int64(len(data)) != want {
		return nil, 0, fmt.Errorf("%d bytes of %d at %d of %d: %w", len(data), want, offset, size, ErrShort)
	}
	b.metrics.bytes.WithLabelValues(string(opRead)).Add(float64(len(data)))
	return data, size, nil
}

// List yields the keys that start with prefix and are greater than after, in
// byte order, without an end but theirs. It reads ahead of its consumer by at
// most a page. A step that fails is retried from the last key on, up to
// MaxAttempts times in a row; then the error is yielded, with an empty key, and
// the sequence ends. Objects created or deleted meanwhile may be in it or not.
func (b *Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		a := attempts{b: b, op: opList}
		for last := after; ; {
			if ctx.Err() != nil {
				yield("", fmt.Errorf("list %s: %w", prefix, context.Cause(ctx)))
				return
			}
			next, stopped, err := b.listOnce(ctx, &a, prefix, last, yield)
			if stopped || err == nil {
				return
			}
			if next != last {
				last, a.made = next, 1
			}
			if final(err) || a.made >= b.opts.MaxAttempts {
				yield("", fmt.Errorf("list %s: %d attempts after key %q: %w", prefix, a.made, last, err))
				return
			}
			if cause := a.wait(ctx, err); cause != nil {
				yield("", fmt.Errorf("list %s: %w; last error: %w", prefix, cause, err))
				return
			}
		}
	}
}

// listOnce lists from after on, until the end, an error or a consumer that wants
// no more. The deadline runs only while the store works, not the consumer, and
// starts anew with each key.
func (b *Bucket) listOnce(ctx context.Context, a *attempts, prefix, after string, yield func(string, error) bool) (last string, stopped bool, err error) {
	a.made++
	if a.made > 1 {
		b.metrics.retries.WithLabelValues(string(opList)).Inc()
	}
	limit := b.opts.RequestTimeout
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(limit, func() { cancel(&timeoutError{limit}) })
	defer timer.Stop()
	var working time.Duration
	since := time.Now()
	last = after
	for key, lerr := range b.raw.List(ctx, prefix, after) {
		if lerr != nil {
			err = lerr
			break
		}
		if key <= last {
			err = fmt.Errorf("the store lists %q after %q, out of order", key, last)
			break
		}
		timer.Stop()
		working += time.Since(since)
		last = key
		if !yield(key, nil) {
			stopped = true
			break
		}
		since = time.Now()
		timer.Reset(limit)
	}
	if !stopped {
		working += time.Since(since)
	}
	if err == nil && !stopped && ctx.Err() != nil {
		// Cut short without a word: an incomplete listing must not look whole.
		err = context.Cause(ctx)
	}
	b.metrics.done(opList, err, working)
	return last, stopped, err
}
