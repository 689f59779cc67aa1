package blobstore_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/testcluster/tamper"
)

// crew runs schedules one after the other. Its writers have a bucket each, as
// processes have.
type crew struct {
	*field
	buckets []*blobstore.Bucket // of two writers and the seal
}

// crew makes one. If it hedges, its writers send a create twice by themselves
// where the first request is slow; they learn here what that is.
func (f *field) crew(t *testing.T, hedges bool) *crew {
	c := &crew{field: f}
	for range 3 {
		opts := blobstore.Options{
			RequestTimeout: f.timeout, BackoffMin: time.Millisecond, BackoffMax: 10 * time.Millisecond, Registerer: f.metrics,
		}
		if hedges {
			opts.HedgePercent = 100
		}
		c.buckets = append(c.buckets, f.open(t, f.proxy.Addr(), opts))
	}
	for range 25 {
		for _, b := range c.buckets[:2] {
			if hedges {
				require.NoError(t, b.Create(t.Context(), "usual/"+rand.Text(), []byte("fast")))
			}
		}
	}
	return c
}

// run runs a schedule, and says what did not hold.
func (c *crew) run(ctx context.Context, s *schedule) error {
	var rules []*tamper.Rule
	for _, f := range append(slices.Clone(s.creates), s.reads...) {
		rules = append(rules, c.proxy.Add(f))
	}
	outcomes := make([]outcome, len(s.writers))
	var wg sync.WaitGroup
	for i, w := range s.writers {
		wg.Go(func() { outcomes[i] = outcome{w, w.create(ctx, c.buckets[i], s.key)} })
	}
	wg.Wait()
	before, err := c.object(ctx, s.key)
	err = errors.Join(err, holds(outcomes, before))
	for _, r := range rules {
		r.Remove()
		r.Release()
	}
	err = errors.Join(err, c.proxy.Idle(ctx, s.key))
	reached := slices.ContainsFunc(outcomes, func(o outcome) bool { return o.err == nil || errors.Is(o.err, fs.ErrExist) })
	if s.sealed || !reached { // every schedule is to reach the server
		o := outcome{s.seal(), s.seal().create(ctx, c.buckets[2], s.key)}
		outcomes = append(outcomes, o)
		if o.err != nil && !errors.Is(o.err, fs.ErrExist) {
			err = errors.Join(err, fmt.Errorf("nobody disturbed the seal: %w", o.err))
		}
	}
	after, rerr := c.object(ctx, s.key)
	err = errors.Join(err, rerr, holds(outcomes, after))
	if before != nil && !bytes.Equal(before, after) {
		err = errors.Join(err, fmt.Errorf("there was %q, and now there is %q", before, after))
	}
	c.note(outcomes)
	if err != nil {
		return fmt.Errorf("%s\ntold: %v\n%w", s, outcomes, err)
	}
	return nil
}

// create is what a writer does. The wait is part of the schedule.
func (w writer) create(ctx context.Context, b *blobstore.Bucket, key string) error {
	ctx, cancel := context.WithTimeout(ctx, w.delay+w.deadline)
	defer cancel()
	delay := time.NewTimer(w.delay)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-ctx.Done():
	}
	return b.Create(ctx, key, w.body[:len(w.body)/3], w.body[len(w.body)/3:])
}

// object is what the server has; nil: nothing.
func (f *field) object(ctx context.Context, key string) ([]byte, error) {
	body, err := object(ctx, f.truth, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return body, err
}
