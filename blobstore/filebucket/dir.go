package filebucket

import (
	"fmt"
	"sync"
	"time"
)

// quietFor is how old a directory's modification time must be, when it is read
// just before an fsync, for an equal time later to prove that nothing was added
// since. It must exceed the granularity of that time: 2 s on FAT, 1 s on ext3,
// a few ms on the others.
const quietFor = 3 * time.Second

// dir is an open directory of the bucket, shared by all who use it.
type dir struct {
	h    Dir
	path string // relative to the bucket, "" for the top

	poisoned func(path string, err error) // told of the fsync that fails

	// refs and idle belong to dirs, under its lock.
	refs int
	idle uint64

	running sync.Mutex // held by the one fsync under way

	mu      sync.Mutex
	pending *syncBatch // joined by whoever comes before its fsync starts
	poison  error      // the first fsync that failed
	quiet   time.Time  // see settled; zero if unknown
}

// syncBatch is one fsync and all who wait for it.
type syncBatch struct {
	done chan struct{}
	err  error
}

// sync makes durable all that was done in the directory before the call. One
// fsync serves all calls that came before it started; so it never returns the
// result of one that was already under way.
func (d *dir) sync() error {
	d.mu.Lock()
	if d.poison != nil {
		defer d.mu.Unlock()
		return d.poison
	}
	b := d.pending
	if b != nil {
		d.mu.Unlock()
		<-b.done
		return b.err
	}
	b = &syncBatch{done: make(chan struct{})}
	d.pending = b
	d.mu.Unlock()

	d.running.Lock()
	d.mu.Lock()
	d.pending = nil
	b.err = d.poison
	d.mu.Unlock()
	if b.err == nil {
		b.err = d.syncNow()
	}
	d.running.Unlock()
	close(b.done)
	return b.err
}

// syncNow is one fsync. The caller holds running.
func (d *dir) syncNow() error {
	before, terr := d.h.ModTime()
	if err := d.h.Sync(); err != nil {
		err = fmt.Errorf("fsync directory %q: %w: %w", d.path, ErrPoisoned, err)
		d.poisoned(d.path, err)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.poison = err
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if terr == nil && time.Since(before) >= quietFor {
		d.quiet = before
	}
	return nil
}

// settled makes durable every entry that the caller has already seen in the
// directory: by nothing, if no entry was added since an fsync; else by an fsync.
func (d *dir) settled() error {
	d.mu.Lock()
	quiet, poison := d.quiet, d.poison
	d.mu.Unlock()
	if poison != nil {
		return poison
	}
	if !quiet.IsZero() {
		if now, err := d.h.ModTime(); err == nil && now.Equal(quiet) {
			return nil
		}
	}
	return d.sync()
}
