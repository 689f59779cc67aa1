package filebucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
)

// pageNames bounds the names of one directory held in memory at a time, about
// 4 MiB of them. A larger directory is read again for each page.
const pageNames = 65536

// List yields the keys that start with prefix and are greater than after, in
// byte order. Objects created or deleted meanwhile may be in it or not. Each
// directory is fsynced before its names are yielded (see the package comment).
// After an error, which comes with an empty key, the sequence ends.
func (b *Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		w := walk{b: b, ctx: ctx, prefix: prefix, after: after, page: pageNames, yield: yield}
		// Start as deep as the prefix allows.
		top := ""
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			top = prefix[:i]
			if CheckKey(top) != nil {
				return // no object can be there
			}
		}
		if err := w.dir(top); err != nil && !errors.Is(err, errStop) {
			yield("", fmt.Errorf("list %q: %w", prefix, err))
		}
	}
}

// errStop ends a walk whose consumer wants no more.
var errStop = errors.New("stop")

// walk is one listing.
type walk struct {
	b             *Bucket
	ctx           context.Context // of the List call that the walk lives in
	prefix, after string
	page          int
	yield         func(string, error) bool
}

// entry is a name in a directory, directories with a "/" at the end: then the
// order of the entries is the order of the keys below them ("a-b" < "a/b").
type entry string

func (e entry) isDir() bool { return e[len(e)-1] == '/' }

// dir walks the directory rel. One that does not exist is empty.
func (w *walk) dir(rel string) error {
	base := ""
	if rel != "" {
		base = rel + "/"
	}
	for last := entry(""); ; {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		page, more, err := w.read(rel, base, last)
		if errors.Is(err, fs.ErrNotExist) || notDir(err) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := w.entry(base, e); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		last = page[len(page)-1]
	}
}

// entry yields a key, or walks a directory.
func (w *walk) entry(base string, e entry) error {
	if e.isDir() {
		return w.dir(base + strings.TrimSuffix(string(e), "/"))
	}
	if !w.yield(base+string(e), nil) {
		return errStop
	}
	return nil
}

// read returns the first entries of a directory that are after last and can
// matter, in order, and whether there are more.
func (w *walk) read(rel, base string, last entry) (page []entry, more bool, err error) {
	d, err := w.b.dirs.get(rel, false)
	if err != nil {
		return nil, false, err
	}
	defer w.b.dirs.put(d)
	trim := func() {
		slices.SortFunc(page, cmp.Compare)
		if len(page) > w.page {
			clear(page[w.page:])
			page, more = page[:w.page], true
		}
	}
	err = w.b.dirs.fs.ReadDir(w.b.dirs.path(rel), func(name string, isDir bool) bool {
		e := entry(name)
		if isDir {
			e += "/"
		}
		if e > last && w.wants(base+string(e)) {
			page = append(page, e)
			if len(page) >= 2*w.page {
				trim()
			}
		}
		return w.ctx.Err() == nil
	})
	if err != nil {
		return nil, false, err
	}
	if w.ctx.Err() != nil {
		return nil, false, context.Cause(w.ctx)
	}
	trim()
	return page, more, d.settled()
}

// wants reports whether a key, or for a path that ends with "/" any key below
// it, is in the listing.
func (w *walk) wants(p string) bool {
	if dir, ok := strings.CutSuffix(p, "/"); ok {
		return isObject(dir) &&
			(strings.HasPrefix(p, w.prefix) || strings.HasPrefix(w.prefix, p)) &&
			(p > w.after || strings.HasPrefix(w.after, p))
	}
	return strings.HasPrefix(p, w.prefix) && p > w.after && isObject(p)
}
