package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// Walk reads on in the bucket, from where the Follower is to the first object
// that is not there, or the end of the chain: so it needs no writer. What it
// finds is all that was durable when it got to that place. One walk goes on at a
// time; another waits.
//
// Errors: the context's; whatever keeps the store from answering; one that Is
// fragment.ErrCorrupt where an object is damaged: what lies before it is known
// then, and only a sealer says what becomes of the rest.
func (f *Follower) Walk(ctx context.Context, store Store) error {
	select {
	case f.walking <- struct{}{}:
		defer func() { <-f.walking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if _, _, known := f.Current(); !known {
		if err := f.leap(ctx, store); err != nil {
			return fmt.Errorf("walk chain %d: %w", uint64(f.chain.Epoch), err)
		}
	}
	for ahead := uint64(1); !f.Ended(); ahead = min(2*ahead, walkers) {
		began, n := time.Now(), f.Durable()+1
		links, err := each(ctx, numbers(n, n+ahead), func(ctx context.Context, n uint64) (link, error) {
			l, err := readLink(ctx, store, f.chain, n)
			if errors.Is(err, fs.ErrNotExist) {
				return link{}, nil
			}
			return l, err
		})
		if err != nil {
			return fmt.Errorf("walk chain %d: %w", uint64(f.chain.Epoch), err)
		}
		if hole, err := f.takeLinks(links, began); hole || err != nil {
			return err
		}
	}
	return nil
}

// takeLinks takes in what stands at successive places; a link without a number
// is a place where nothing stood after began.
func (f *Follower) takeLinks(links []link, began time.Time) (hole bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range links {
		switch {
		case l.n == 0:
			f.known, f.walked = true, began
			return true, nil
		case l.damage != nil:
			f.known = true
			return false, fmt.Errorf("walk chain %d: %w", uint64(f.chain.Epoch), l.damage)
		case l.head.Kind == fragment.KindSeal:
			f.ended, f.known, f.walked = true, true, began
			return false, nil
		}
		f.takeLinkLocked(l)
	}
	return false, nil
}

// takeLinkLocked takes in a link, unless the feed was faster.
func (f *Follower) takeLinkLocked(l link) {
	if l.n == f.have.next() {
		f.opts.Durable(f.have.take(l))
	}
}

// leap takes in what was surely durable: by sums, where there are any. If
// something is in the way, it does nothing, and the walk gets there.
func (f *Follower) leap(ctx context.Context, store Store) error {
	from := f.Durable() + 1
	sure, err := gallop(ctx, store, f.chain, from)
	if err != nil {
		return err
	}
	absent := func(context.Context, uint64) (link, error) { return link{}, errInTheWay }
	var links []link
	err = readSure(ctx, store, f.chain, from, sure, absent, func(l link) { links = append(links, l) })
	switch {
	case errors.Is(err, errInTheWay):
		return nil
	case err != nil:
		return err
	}
	for _, l := range links {
		if l.damage != nil || l.head.Kind == fragment.KindSeal {
			return nil
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.have.next() == from {
		for _, l := range links {
			f.opts.Durable(f.have.take(l))
		}
	}
	return nil
}

var errInTheWay = errors.New("an object is missing that was durable once")
