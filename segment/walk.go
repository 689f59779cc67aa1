package segment

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd/fragment"
)

// walkers is how many reads of a walk are in flight at once.
const walkers = 32

// each runs f for every number, walkers at a time, and returns the results in
// the order of the numbers.
func each[T any](ctx context.Context, numbers []uint64, f func(ctx context.Context, n uint64) (T, error)) ([]T, error) {
	out := make([]T, len(numbers))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(walkers)
	for i, n := range numbers {
		g.Go(func() (err error) {
			out[i], err = f(ctx, n)
			return err
		})
	}
	return out, g.Wait()
}

func numbers(from, to uint64) []uint64 {
	var all []uint64
	for n := from; n < to; n++ {
		all = append(all, n)
	}
	return all
}

// gallop returns a number up to which (exclusive) the chain is surely durable
// from `from` on: an object n that is there means that all up to n−W were
// durable. A missing object means nothing. It costs a few rounds of reads.
func gallop(ctx context.Context, store Store, c Chain, from uint64) (uint64, error) {
	there := func(ctx context.Context, n uint64) (bool, error) {
		_, _, err := store.ReadRange(ctx, fragment.ChainKey(c.Epoch, n), 0, 1)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}
	var probes []uint64
	for step := uint64(1); step < 1<<24; step <<= 1 {
		probes = append(probes, from+step-1)
	}
	var known, beyond uint64 // the highest found; the lowest missing above it, 0 if none is known
	for len(probes) > 0 {
		found, err := each(ctx, probes, there)
		if err != nil {
			return 0, err
		}
		for i, ok := range found {
			if ok {
				known = max(known, probes[i])
			}
		}
		for i, ok := range found {
			if n := probes[i]; !ok && n > known && (n < beyond || beyond <= known) {
				beyond = n
			}
		}
		probes = probes[:0]
		if known == 0 || beyond <= known+c.Window {
			break
		}
		for i := uint64(1); i < 16; i++ {
			if n := known + (beyond-known)*i/16; n > known && (len(probes) == 0 || n > probes[len(probes)-1]) {
				probes = append(probes, n)
			}
		}
	}
	if known < from+c.Window {
		return from, nil
	}
	return known - c.Window + 1, nil
}

// readSure reads what a chain says of objects [from, to), which were surely
// durable: by sums where there are any, otherwise one by one. sink gets what
// findings.add wants, in order. absent says what to make of an object that is
// not there.
func readSure(ctx context.Context, store Store, c Chain, from, to uint64, absent func(ctx context.Context, n uint64) (link, error), sink func(l link)) error {
	read := func(ctx context.Context, n uint64) (link, error) {
		l, err := readLink(ctx, store, c, n)
		if errors.Is(err, fs.ErrNotExist) {
			return absent(ctx, n)
		}
		return l, err
	}
	var lasts []uint64 // the last number of each block
	for n := from; n < to; n = lasts[len(lasts)-1] + 1 {
		lasts = append(lasts, min(n+(fragment.SumEvery-n%fragment.SumEvery)%fragment.SumEvery, to-1))
	}
	ends, err := each(ctx, lasts, read)
	if err != nil {
		return err
	}
	// What a block without a sum is made of; and the first of one that has a
	// sum but follows a lost object.
	var rest []uint64
	for i, l := range ends {
		first := from
		if i > 0 {
			first = lasts[i-1] + 1
		}
		switch {
		case l.sum() == nil:
			rest = append(rest, numbers(first, l.n)...)
		case i > 0 && ends[i-1].lost():
			rest = append(rest, first)
		}
	}
	links, err := each(ctx, rest, read)
	if err != nil {
		return err
	}
	for _, end := range ends {
		for len(links) > 0 && links[0].n < end.n {
			sink(links[0])
			links = links[1:]
		}
		sink(end)
	}
	return nil
}

// isLost is what to make of an object that was durable once and is not there,
// for a reader, who changes nothing.
func isLost(_ context.Context, n uint64) (link, error) {
	return link{n: n, damage: fs.ErrNotExist}, nil
}
