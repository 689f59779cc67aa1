package filebucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// Bucket is a directory of objects. It makes one attempt at each operation and
// retries nothing. It is safe for concurrent use, also by several processes on
// one machine or, where link(2) and fsync work over it, on a network file
// system.
type Bucket struct {
	dirs   dirs
	known  known
	closer io.Closer // what the file system holds open; nil if nothing
}

// OpenFS opens a bucket in the directory root of fsys, which must exist. It does
// no I/O; a root that is missing fails the first operation.
func OpenFS(fsys FS, root string) *Bucket {
	return &Bucket{dirs: dirs{fs: fsys, root: root, open: make(map[string]*dir)}}
}

// Create stores the concatenation of parts under key if nothing is there. nil
// means that the object is durable. An error that wraps fs.ErrExist means that
// something else is there, durably. An error that wraps [ErrKey] means that
// there can be no such object. After any other error the object may be there or
// not, whole if it is. parts are read, not kept; their bytes are not copied.
func (b *Bucket) Create(ctx context.Context, key string, parts [][]byte) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("create %q: %w", key, context.Cause(ctx))
	}
	rel, name := split(key)
	d, err := b.dirs.get(rel, true)
	if err != nil {
		if notDir(err) {
			return &KeyError{key, "has a path prefix that is an object"}
		}
		return fmt.Errorf("create %q: %w", key, err)
	}
	defer b.dirs.put(d)
	id, err := b.link(ctx, d, name, parts)
	switch {
	case errors.Is(err, fs.ErrExist) && d.h.IsDir(name):
		return &KeyError{key, "is a path prefix of other objects"}
	case errors.Is(err, fs.ErrExist):
		if serr := d.settled(); serr != nil {
			return fmt.Errorf("create %q: it exists, perhaps not durably: %w", key, serr)
		}
		return fmt.Errorf("create %q: %w", key, err)
	case err != nil:
		// In case the directory was deleted under us, which file systems
		// report in different ways: the next attempt opens its path anew.
		b.dirs.forget(d)
		return fmt.Errorf("create %q: %w", key, err)
	}
	// A crash here leaves a whole object whose name may or may not survive a
	// power loss; whoever finds it syncs the directory first.
	if err := d.sync(); err != nil {
		return fmt.Errorf("create %q: %w", key, err)
	}
	b.known.add(id)
	return nil
}

// link writes a durable file without a name, then names it. A crash before the
// last step leaves nothing in the bucket.
func (b *Bucket) link(ctx context.Context, d *dir, name string, parts [][]byte) (ID, error) {
	t, err := d.h.CreateTemp()
	if err != nil {
		return ID{}, fmt.Errorf("make a temporary file: %w", err)
	}
	// Nothing rests on the result: the content is synced before, by Sync.
	defer t.Close()
	if err := t.Write(parts); err != nil {
		return ID{}, fmt.Errorf("write: %w", err)
	}
	if ctx.Err() != nil {
		return ID{}, context.Cause(ctx)
	}
	if err := t.Sync(); err != nil {
		return ID{}, fmt.Errorf("fsync: %w", err)
	}
	if ctx.Err() != nil {
		return ID{}, context.Cause(ctx)
	}
	return d.h.Link(t, name)
}

// ReadRange reads up to length bytes from offset on, and tells the size of the
// whole object. Bytes past the end do not exist: data is shorter or empty. data
// is the caller's. fs.ErrNotExist if there is no such object.
//
// What it returns is durable: if this process neither created the object nor
// has read it before, its directory is fsynced first, unless nothing was added
// to it since it last was.
func (b *Bucket) ReadRange(ctx context.Context, key string, offset, length int64) (data []byte, size int64, err error) {
	if offset < 0 || length < 0 {
		return nil, 0, fmt.Errorf("read %q: negative range: offset %d, length %d", key, offset, length)
	}
	f, info, err := b.openDurable(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close() // of a file that was only read
	if offset >= info.Size || length == 0 {
		return []byte{}, info.Size, nil
	}
	data = make([]byte, min(length, info.Size-offset))
	if n, err := f.ReadAt(data, offset); n < len(data) {
		return nil, 0, fmt.Errorf("read %q: %d bytes of %d at %d: %w", key, n, len(data), offset, err)
	}
	return data, info.Size, nil
}

// openDurable opens an object whose existence is durable on return. The caller
// closes it.
func (b *Bucket) openDurable(ctx context.Context, key string) (File, Info, error) {
	f, info, err := b.openFile(ctx, key)
	if err != nil || b.known.has(info.ID) {
		return f, info, err
	}
	if err := b.settle(key); err != nil {
		_ = f.Close() // of a file that was not even read
		return nil, Info{}, fmt.Errorf("read %q: not known to be durable: %w", key, err)
	}
	b.known.add(info.ID)
	return f, info, nil
}

// openFile opens an object that a power loss may still undo. The caller closes
// it.
func (b *Bucket) openFile(ctx context.Context, key string) (File, Info, error) {
	if err := CheckKey(key); err != nil {
		return nil, Info{}, err
	}
	if ctx.Err() != nil {
		return nil, Info{}, fmt.Errorf("read %q: %w", key, context.Cause(ctx))
	}
	if b.dirs.isClosed() {
		return nil, Info{}, fmt.Errorf("read %q: %w", key, ErrClosed)
	}
	f, err := b.dirs.fs.Open(b.dirs.path(key))
	if err != nil {
		if notDir(err) {
			err = fs.ErrNotExist
		}
		return nil, Info{}, fmt.Errorf("read %q: %w", key, err)
	}
	info, err := f.Stat()
	if err == nil && info.NotFile {
		err = fmt.Errorf("it is not a regular file: %w", fs.ErrNotExist)
	}
	if err != nil {
		_ = f.Close() // of a file that was not even read
		return nil, Info{}, fmt.Errorf("read %q: %w", key, err)
	}
	return f, info, nil
}

// settle makes the entry of an object that was seen durable.
func (b *Bucket) settle(key string) error {
	rel, _ := split(key)
	d, err := b.dirs.get(rel, false)
	if err != nil {
		return err
	}
	defer b.dirs.put(d)
	return d.settled()
}

// Delete removes an object, durably. fs.ErrNotExist if there is none. Its
// directory stays.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("delete %q: %w", key, context.Cause(ctx))
	}
	rel, name := split(key)
	d, err := b.dirs.get(rel, false)
	if err != nil {
		if notDir(err) {
			err = fs.ErrNotExist
		}
		return fmt.Errorf("delete %q: %w", key, err)
	}
	defer b.dirs.put(d)
	if d.h.IsDir(name) {
		return fmt.Errorf("delete %q: it is a directory: %w", key, fs.ErrNotExist)
	}
	if err := d.h.Remove(name); err != nil {
		return fmt.Errorf("delete %q: %w", key, err)
	}
	if err := d.sync(); err != nil {
		return fmt.Errorf("delete %q: %w", key, err)
	}
	return nil
}

// Close frees what the bucket holds open. Operations under way finish; later
// ones fail with [ErrClosed]. It may be called again.
func (b *Bucket) Close() error {
	err := b.dirs.close()
	if b.closer != nil {
		err = errors.Join(err, b.closer.Close())
	}
	if err != nil {
		return fmt.Errorf("close file bucket %s: %w", b.dirs.root, err)
	}
	return nil
}

// isObject reports whether a key found on the disk is one that Create allows.
func isObject(key string) bool {
	return !strings.HasPrefix(key, reserved) && CheckKey(key) == nil
}
