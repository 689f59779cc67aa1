package blobstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// timeoutsMax is how many times RequestTimeout an attempt may get.
const timeoutsMax = 4

// attempts paces the attempts of one call. Not for concurrent use.
type attempts struct {
	b        *Bucket
	op       op
	made     int  // attempts begun
	timeouts int  // how many of them ran out of time, at most timeoutsMax-1
	failing  bool // counted in the metric of failing creates
}

// try makes one attempt under its own deadline, and counts it.
func (a *attempts) try(ctx context.Context, do func(ctx context.Context) error) error {
	a.made++
	if a.made > 1 {
		a.b.metrics.retries.WithLabelValues(string(a.op)).Inc()
	}
	limit := a.b.opts.RequestTimeout * time.Duration(1+a.timeouts)
	tctx, cancel := context.WithTimeoutCause(ctx, limit, &timeoutError{limit})
	defer cancel()
	start := time.Now()
	err := do(tctx)
	a.b.metrics.done(a.op, err, time.Since(start))
	if tctx.Err() != nil && ctx.Err() == nil && err != nil {
		a.timeouts = min(a.timeouts+1, timeoutsMax-1)
	}
	return err
}

// timeoutError is the cause of the end of one attempt.
type timeoutError struct{ limit time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("no answer within %v", e.limit) }

func (e *timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// Timeout says what net.Error would.
func (e *timeoutError) Timeout() bool { return true }

// wait sleeps before the next attempt. It returns the context's cause if that
// ends first.
func (a *attempts) wait(ctx context.Context) error {
	limit := a.b.opts.BackoffMin
	for range a.made - 1 {
		if limit *= 2; limit >= a.b.opts.BackoffMax {
			limit = a.b.opts.BackoffMax
			break
		}
	}
	half := limit / 2
	t := time.NewTimer(half + time.Duration(a.b.opts.Jitter()*float64(limit-half)))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// bounded repeats an operation that changes nothing when it is repeated, until
// it succeeds, is answered for good, or has been tried MaxAttempts times.
func (b *Bucket) bounded(ctx context.Context, op op, key string, do func(ctx context.Context) error) error {
	a := attempts{b: b, op: op}
	for {
		if ctx.Err() != nil {
			return fmt.Errorf("%s %s: %w", op, key, context.Cause(ctx))
		}
		err := a.try(ctx, do)
		switch {
		case err == nil:
			return nil
		case final(err):
			return fmt.Errorf("%s %s: %w", op, key, err)
		case a.made >= b.opts.MaxAttempts:
			return fmt.Errorf("%s %s: %d attempts: %w", op, key, a.made, err)
		}
		if cerr := a.wait(ctx); cerr != nil {
			return fmt.Errorf("%s %s: %w; last error: %w", op, key, cerr, err)
		}
	}
}

// final reports whether trying again is useless.
func final(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) || errors.Is(err, ErrKey)
}
