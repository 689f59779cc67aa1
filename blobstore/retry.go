package blobstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

const (
	// timeoutsMax is how many times RequestTimeout an attempt may get.
	timeoutsMax = 4
	// retryAfterMax is the longest that a store may ask us to stay away:
	// proxies have been seen to ask for minutes, and appends wait meanwhile.
	retryAfterMax = 10 * time.Second
)

// attempts paces the attempts of one call. Not for concurrent use.
type attempts struct {
	b        *Bucket
	op       op
	made     int  // attempts begun
	timeouts int  // how many of them ran out of time, at most timeoutsMax-1
	failing  bool // counted in the metric of failing creates
}

// try makes one attempt under its own deadline, as soon as the store takes one
// more, and counts it. A [notSentError] is none.
func (a *attempts) try(ctx context.Context, do func(ctx context.Context) error) error {
	s, err := a.b.limiter(a.op).acquire(ctx)
	if err != nil {
		return err
	}
	a.made++
	if a.made > 1 {
		a.b.metrics.retries.WithLabelValues(string(a.op)).Inc()
	}
	limit := a.b.opts.RequestTimeout * time.Duration(1+a.timeouts)
	tctx, cancel := context.WithTimeoutCause(ctx, limit, &timeoutError{limit})
	defer cancel()
	start := time.Now()
	err = do(tctx)
	a.b.metrics.done(a.op, err, time.Since(start))
	late := tctx.Err() != nil && ctx.Err() == nil && err != nil
	if late {
		a.timeouts = min(a.timeouts+1, timeoutsMax-1)
	}
	s.release(judge(err, late))
	return err
}

// judge says what the end of a request means for those in flight. late: its
// deadline had passed.
func judge(err error, late bool) verdict {
	switch {
	case late:
		return verdictLate
	case throttled(err):
		return verdictThrottled
	case err == nil, final(err):
		return verdictMore
	}
	return verdictNone
}

// timeoutError is the cause of the end of one attempt.
type timeoutError struct{ limit time.Duration }

func (e *timeoutError) Error() string { return fmt.Sprintf("no answer within %v", e.limit) }

func (e *timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// Timeout says what net.Error would.
func (e *timeoutError) Timeout() bool { return true }

// wait sleeps before the next attempt, at least as long as the store asked for
// in the last one's error, within reason. It returns the context's cause if that
// ends first.
func (a *attempts) wait(ctx context.Context, last error) error {
	limit := a.b.opts.BackoffMin
	for range a.made - 1 {
		if limit *= 2; limit >= a.b.opts.BackoffMax {
			limit = a.b.opts.BackoffMax
			break
		}
	}
	half := limit / 2
	pause := half + time.Duration(a.b.opts.Jitter()*float64(limit-half))
	if e, ok := errors.AsType[*ThrottledError](last); ok {
		pause += min(e.After, retryAfterMax)
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
	return context.Cause(ctx) // nil: it has not ended
}

// bounded repeats an operation that changes nothing when it is repeated, until
// it succeeds, is answered for good, or has been tried MaxAttempts times.
func (b *Bucket) bounded(ctx context.Context, op op, key string, do func(ctx context.Context) error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", op, key, context.Cause(ctx))
	}
	a := attempts{b: b, op: op}
	var last error // of what was sent
	for {
		err := a.try(ctx, do)
		switch {
		case err == nil:
			return nil
		case notSent(err) && last != nil:
			return fmt.Errorf("%s %s: %w; last error: %w", op, key, context.Cause(ctx), last)
		case notSent(err), final(err):
			return fmt.Errorf("%s %s: %w", op, key, err)
		case a.made >= b.opts.MaxAttempts:
			return fmt.Errorf("%s %s: %d attempts: %w", op, key, a.made, err)
		}
		if cause := a.wait(ctx, err); cause != nil {
			return fmt.Errorf("%s %s: %w; last error: %w", op, key, cause, err)
		}
		last = err
	}
}

// final reports whether trying again is useless.
func final(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) || errors.Is(err, ErrKey)
}
