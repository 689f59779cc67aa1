package filebucket

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"syscall"
)

// idleDirsMax bounds the directories kept open while nobody uses them, each a
// file descriptor. A node writes to a handful at a time; opening one anew costs
// an fsync of its parents' entries.
const idleDirsMax = 64

// dirs holds the open directories of a bucket.
type dirs struct {
	fs   FS
	root string

	mu     sync.Mutex
	open   map[string]*dir
	clock  uint64           // counts releases, to find the directory idle for longest
	poison map[string]error // by directory: its first fsync that failed; never cleared
	closed bool
}

func (ds *dirs) path(rel string) string { return path.Join(ds.root, rel) }

// get opens a directory, by its path below the bucket, whose own entry and
// whose parents' are then durable. With make it is made if missing. The caller
// releases it with put.
func (ds *dirs) get(rel string, make bool) (*dir, error) {
	if d, err := ds.cached(rel); d != nil || err != nil {
		return d, err
	}
	if rel != "" {
		if err := ds.settleParent(rel, make); err != nil {
			return nil, err
		}
	}
	h, err := ds.fs.OpenDir(ds.path(rel))
	if err != nil {
		return nil, fmt.Errorf("open directory %q: %w", rel, err)
	}
	return ds.admit(rel, h)
}

// settleParent sees to it that the entry of rel in its parent exists, if make is
// set, and that it is durable, whoever made it.
func (ds *dirs) settleParent(rel string, make bool) error {
	up, _ := split(rel)
	parent, err := ds.get(up, make)
	if err != nil {
		return err
	}
	defer ds.put(parent)
	if make {
		err = ds.fs.Mkdir(ds.path(rel))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			if errors.Is(err, fs.ErrNotExist) {
				ds.forget(parent)
			}
			return fmt.Errorf("make directory %q: %w", rel, err)
		}
	} else if !parent.h.IsDir(path.Base(rel)) {
		// Don't pay an fsync of the parent for what isn't there.
		h, err := ds.fs.OpenDir(ds.path(rel))
		if err != nil {
			return fmt.Errorf("open directory %q: %w", rel, err)
		}
		_ = h.Close() // it came up meanwhile
	}
	return parent.settled()
}

// cached returns the directory if it is open, or an error if the bucket is not.
func (ds *dirs) cached(rel string) (*dir, error) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if ds.closed {
		return nil, ErrClosed
	}
	if err := ds.poison[rel]; err != nil {
		return nil, err
	}
	d := ds.open[rel]
	if d != nil {
		d.refs++
	}
	return d, nil
}

// admit adds a freshly opened directory, unless another was quicker.
func (ds *dirs) admit(rel string, h Dir) (*dir, error) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if ds.closed {
		return nil, errors.Join(ErrClosed, h.Close())
	}
	if d := ds.open[rel]; d != nil {
		d.refs++
		// A second handle of the same directory: nothing was done with it.
		return d, h.Close()
	}
	d := &dir{h: h, path: rel, refs: 1, poisoned: ds.poisoned}
	ds.open[rel] = d
	return d, nil
}

// put releases what get returned.
func (ds *dirs) put(d *dir) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d.refs--
	ds.clock++
	d.idle = ds.clock
	if d.refs == 0 && (ds.closed || ds.open[d.path] != d) {
		_ = d.h.Close() // of a directory: nothing can be lost
		return
	}
	if len(ds.open) > idleDirsMax {
		ds.evictLocked()
	}
}

// evictLocked closes the directory idle for longest.
func (ds *dirs) evictLocked() {
	var oldest *dir
	for _, d := range ds.open {
		if d.refs == 0 && (oldest == nil || d.idle < oldest.idle) {
			oldest = d
		}
	}
	if oldest != nil {
		delete(ds.open, oldest.path)
		_ = oldest.h.Close()
	}
}

// poisoned keeps a failed fsync for as long as the bucket is open, whatever
// becomes of the handle. There is no limit on them: the disk is broken by then.
func (ds *dirs) poisoned(rel string, err error) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if ds.poison == nil {
		ds.poison = make(map[string]error)
	}
	ds.poison[rel] = err
}

// forget drops a directory that turned out to be deleted under us, so that the
// next get opens its path anew. It is closed when its last user puts it.
func (ds *dirs) forget(d *dir) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if ds.open[d.path] == d {
		delete(ds.open, d.path)
	}
}

// close closes all that is idle; what is in use is closed by its last put.
func (ds *dirs) close() error {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if ds.closed {
		return nil
	}
	ds.closed = true
	var errs []error
	for _, d := range ds.open {
		if d.refs == 0 {
			errs = append(errs, d.h.Close())
		}
	}
	return errors.Join(errs...)
}

// notDir reports whether err says that a part of a path is not a directory.
func notDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

func (ds *dirs) isClosed() bool {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	return ds.closed
}
