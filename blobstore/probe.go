package blobstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"sync"
	"time"

	"github.com/wpd-io/wpd/blobstore/internal/race"
)

const (
	// probePrefix starts the keys that Probe makes and removes.
	probePrefix = "probe/"
	// probeCleanup bounds the removal of a probe's objects after the probe's
	// own context has ended.
	probeCleanup = 10 * time.Second
	// probeRaces of probeRacers creates each are run at the same time: a store
	// that looks whether something is there and writes then, without a lock
	// between, shows it only to those who come together.
	probeRaces, probeRacers = 2, 4
)

// Probe checks, with a few small objects that it removes, that the store keeps
// the promises that wpd rests on: a conditional create is honoured, also by
// several at the same time, and leaves the first content; what was created can be
// read and listed at once, and what was deleted is gone. It takes the time of
// about seven requests. It returns a [*ProbeError] that names the broken promise,
// or another error if the store cannot be used at all or ctx ended. Requests
// that fail are tried MaxAttempts times. Objects that can't be removed are left,
// and the logger is told.
//
// It finds stores that ignore the condition, and most that get it wrong under
// load; package doctor looks longer.
func (b *Bucket) Probe(ctx context.Context) error {
	p := &probe{Bucket: b, prefix: probePrefix + rand.Text() + "-"}
	err := p.run(ctx)
	if removed := p.remove(ctx); removed && err == nil {
		err = p.gone(ctx)
	}
	if err != nil {
		return fmt.Errorf("probe bucket %s: %w", b.url, err)
	}
	return nil
}

// probe is one run of Probe, below keys that nobody else has.
type probe struct {
	*Bucket
	prefix string
}

// alone is the key of the object that nobody races for.
func (p *probe) alone() string { return p.prefix + "0" }

// raced is the key of the ith race.
func (p *probe) raced(i int) string { return p.prefix + strconv.Itoa(1+i) }

func (p *probe) run(ctx context.Context) error {
	errs := make([]error, probeRaces)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = p.race(ctx, p.raced(i)) })
	}
	err := p.one(ctx, p.alone())
	wg.Wait()
	// Of several, that a promise is broken is the news.
	for _, e := range append(errs, err) {
		if _, broken := errors.AsType[*ProbeError](e); broken {
			return e
		}
	}
	return errors.Join(append(errs, err)...)
}

// one checks what a single create must find.
func (p *probe) one(ctx context.Context, key string) error {
	first, second := []byte("first "+key), []byte("second "+key)
	// That something is there is an attempt whose reply was lost.
	if err := p.createBounded(ctx, key, first); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := p.content(ctx, key, first, "an object can be read as soon as it was created"); err != nil {
		return err
	}
	if err := p.second(ctx, key, second); err != nil {
		return err
	}
	if err := p.content(ctx, key, first, "a conditional create that fails leaves the object as it was"); err != nil {
		return err
	}
	return p.listed(ctx, key)
}

// createBounded is a create that is given up after MaxAttempts.
func (p *probe) createBounded(ctx context.Context, key string, body []byte) error {
	return p.bounded(ctx, opCreate, key, func(ctx context.Context) error {
		return p.raw.Create(ctx, key, [][]byte{body})
	})
}

// content checks that the object is there and as it was created.
func (p *probe) content(ctx context.Context, key string, want []byte, promise string) error {
	data, size, err := p.ReadRange(ctx, key, 0, int64(len(want))+1)
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

// second creates the same key again, until the store refuses it in so many
// words. The content is read afterwards, so that an attempt that was applied and
// said otherwise shows.
func (p *probe) second(ctx context.Context, key string, second []byte) error {
	err := p.createBounded(ctx, key, second)
	if err == nil {
		return &ProbeError{"a conditional create fails if the object exists", "a second create succeeded"}
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return fmt.Errorf("a second create was to be refused, but failed otherwise: %w", err)
}

// race lets several creates of one key race. One that nobody seems to have won,
// because requests failed, shows nothing, and need not: the object by itself
// tells whether creates work.
func (p *probe) race(ctx context.Context, key string) error {
	tctx, cancel := context.WithTimeout(ctx, p.opts.RequestTimeout)
	claims := race.Run(tctx, p.raw.Create, key, "racer", probeRacers, race.HeadBytes)
	cancel()
	head, _, err := p.ReadRange(ctx, key, 0, race.HeadBytes)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if wrong := race.Judge(claims, race.Owner(head)); wrong != "" {
		return &ProbeError{"of several conditional creates of one key at the same time one succeeds", wrong}
	}
	return nil
}

func (p *probe) listed(ctx context.Context, key string) error {
	for got, err := range p.List(ctx, key, "") {
		if err != nil {
			return err
		}
		if got == key {
			return nil
		}
	}
	return &ProbeError{"an object is listed as soon as it was created", "not listed"}
}

// remove removes the objects, also if the probe failed or was cut short, and
// says whether it could.
func (p *probe) remove(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeCleanup)
	defer cancel()
	errs := make([]error, probeRaces+1)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = p.Delete(ctx, p.raced(i-1)) })
	}
	wg.Wait()
	err := errors.Join(errs...)
	if err != nil {
		p.opts.Logger.WarnContext(ctx, "objects of a check of the bucket could not be removed", "prefix", p.prefix, "err", err)
	}
	return err == nil
}

func (p *probe) gone(ctx context.Context) error {
	_, _, err := p.ReadRange(ctx, p.alone(), 0, 1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		return &ProbeError{"an object that was deleted is gone", "it can still be read"}
	}
	return err
}
