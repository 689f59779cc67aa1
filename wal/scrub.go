package wal

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/offline"
)

// The scrub reads, again and again and slowly, all that the metadata say is in
// the bucket, so that what a store damages or loses is known before somebody
// needs it. It changes nothing. Readers are told of damage by what they read
// themselves, whether the scrub has seen it or not.
//
// Each node scrubs the chains that it writes. The sealed ones, also those of
// nodes that are gone, are shared out among the nodes that have a chain open:
// whoever lives has one, as all that has lapsed is sealed. Each node finds out by
// its own metadata which are its; while two of them know different nodes, a chain
// is read twice, or not in this pass.
//
// Nothing of it is kept on disk. A pass begins at a place that follows from the
// number of the boot, and goes round from there, so that a node which never runs
// long enough for a whole pass gets everywhere, too.
const (
	// scrubFirst is after how long the first pass begins, at most: a node that
	// has just started has better things to do.
	scrubFirst = 10 * time.Minute
	// scrubRetryMax bounds the pause before what the store, or the leader, did
	// not answer is asked again; it begins with retryPause and doubles.
	scrubRetryMax = time.Minute
	// After scrubTries, a quarter of an hour, a pass goes on without an object
	// that can't be read though others can; after scrubTriesMore, if the one
	// before could not be read either.
	scrubTries     = 25
	scrubTriesMore = 3
	// scrubSure is how long the leader may take to confirm what must be there.
	scrubSure = time.Minute
)

// scrubber is the scrub of a service. run does all of it; progress is for others.
type scrubber struct {
	s        *Service
	store    *pacedStore
	bytes    atomic.Uint64 // read so far
	progress *scrubProgress
	gaveUp   bool // on what was tried last; run's own
}

func newScrubber(s *Service) *scrubber {
	x := &scrubber{s: s, progress: newScrubProgress()}
	x.store = &pacedStore{Store: s.cfg.Store, perSec: s.cfg.ScrubBytesPerSec, read: func(bytes int) {
		x.bytes.Add(uint64(bytes))
		x.progress.read(bytes)
	}}
	return x
}

// run scrubs until the service ends.
func (x *scrubber) run() {
	every := x.s.cfg.ScrubInterval
	for wait := min(every, scrubFirst); x.rest(wait); {
		began := time.Now()
		if x.pass(x.s.ctx) != nil {
			return // closing
		}
		wait = every - time.Since(began)
	}
}

// rest waits; false: the service ends.
func (x *scrubber) rest(d time.Duration) bool {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-x.s.ctx.Done():
		return false
	}
}

// pass looks once at everything that is this node's to scrub. Only the end of
// ctx is an error.
func (x *scrubber) pass(ctx context.Context) error {
	turn, objects := x.tour()
	x.progress.begin(objects)
	if _, err := x.insist(ctx, "look for what is not ours", x.places); err != nil {
		return err
	}
	for _, v := range turn {
		for v.left() {
			done, err := x.insist(ctx, "read a chain", v.step)
			if err != nil {
				return err
			}
			if !done {
				v.skip()
			}
		}
	}
	for _, p := range x.progress.end() {
		x.s.cfg.Logger.Info("scrub: object is well again, or nobody's loss any more, or another node's to scrub", "object", p.Object, "kind", p.Kind)
	}
	return nil
}

// insist runs a step of the scrub until it succeeds. That the store or the leader
// does not answer is no damage; only the end of ctx is an error. False: it can't
// be done, for long, though the store answers otherwise.
func (x *scrubber) insist(ctx context.Context, what string, step func(ctx context.Context) error) (done bool, err error) {
	for n := 0; ; n++ {
		err := step(ctx)
		switch {
		case err == nil:
			x.gaveUp = false
			return true, nil
		case ctx.Err() != nil:
			return false, ctx.Err()
		case n >= scrubTries || n >= scrubTriesMore && x.gaveUp:
			if _, down := offline.CheckCluster(ctx, x.store, x.s.cfg.Identity.Cluster); down == nil {
				x.s.cfg.Logger.Error("scrub: "+what+"; this pass goes on without", "tries", n+1, "err", err)
				x.progress.skip()
				x.gaveUp = true
				return false, nil
			}
		case n == 0:
			x.s.cfg.Logger.Warn("scrub: "+what+"; it is tried again", "err", err)
		}
		if !x.rest(min(retryPause<<min(n, 16), scrubRetryMax)) {
			return false, context.Canceled
		}
	}
}

// places looks for what stands where only wpd's objects may, and at cluster.json.
func (x *scrubber) places(ctx context.Context) error {
	p, err := offline.CheckCluster(ctx, x.store, x.s.cfg.Identity.Cluster)
	if err != nil {
		return err
	}
	if p != nil {
		x.found(*p)
	}
	epochs, strays, err := offline.Epochs(ctx, x.store)
	if err != nil {
		return err
	}
	if err := x.confirm(ctx); err != nil { // whoever made them, had been granted them before
		return err
	}
	for _, key := range strays {
		x.found(offline.Foreign(key, "no object of wpd's has such a key"))
	}
	for _, e := range epochs {
		if _, ok := x.s.chainMeta(e); !ok {
			x.found(offline.Foreign(fragment.ChainPrefix(e), "the metadata know no such chain"))
		}
	}
	return nil
}

// confirm makes sure that the metadata here are not older than the call.
func (x *scrubber) confirm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, scrubSure)
	defer cancel()
	if err := x.s.cfg.Meta.Confirm(ctx); err != nil {
		return fmt.Errorf("ask the metadata what must be there: %w", err)
	}
	return nil
}
