package blobtest

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"syscall"
	"time"

	"github.com/wpd-io/wpd/blobstore/filebucket"
)

// OpenDir implements [filebucket.FS].
func (c *CrashFS) OpenDir(p string) (d filebucket.Dir, err error) {
	err = c.do(FSOpen, p, func() error {
		n, err := c.findLocked(p)
		if err == nil && !n.isDir {
			err = pathError("open", p, syscall.ENOTDIR)
		}
		d = &crashDir{c: c, n: n, path: p}
		return err
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Mkdir implements [filebucket.FS].
func (c *CrashFS) Mkdir(p string) error {
	return c.do(FSMkdir, p, func() error {
		parent, err := c.findLocked(path.Dir(p))
		if err != nil {
			return err
		}
		if !parent.isDir {
			return pathError("mkdir", p, syscall.ENOTDIR)
		}
		name := path.Base(p)
		if parent.names[name] != nil {
			return pathError("mkdir", p, fs.ErrExist)
		}
		parent.names[name] = c.newInodeLocked(true)
		parent.mtime = time.Now()
		return nil
	})
}

// ReadDir implements [filebucket.FS].
func (c *CrashFS) ReadDir(p string, each func(name string, isDir bool) bool) error {
	var names []string
	var dirs []bool
	if err := c.do(FSReadDir, p, func() error {
		n, err := c.findLocked(p)
		if err != nil {
			return err
		}
		if !n.isDir {
			return pathError("read", p, syscall.ENOTDIR)
		}
		for name, child := range n.names { // any order will do
			names, dirs = append(names, name), append(dirs, child.isDir)
		}
		return nil
	}); err != nil {
		return err
	}
	for i, name := range names {
		if !each(name, dirs[i]) {
			break
		}
	}
	return nil
}

// Open implements [filebucket.FS].
func (c *CrashFS) Open(p string) (f filebucket.File, err error) {
	err = c.do(FSOpen, p, func() error {
		n, err := c.findLocked(p)
		f = &crashFile{c: c, n: n}
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// crashDir is an open directory.
type crashDir struct {
	c    *CrashFS
	n    *inode
	path string
}

func (d *crashDir) CreateTemp() (t filebucket.Temp, err error) {
	err = d.c.do(FSTemp, "", func() error {
		t = &crashTemp{c: d.c, n: d.c.newInodeLocked(false)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (d *crashDir) Link(t filebucket.Temp, name string) (id filebucket.ID, err error) {
	ct, ok := t.(*crashTemp)
	if !ok || ct.c != d.c {
		return id, errors.New("blobtest: link of a file of another file system")
	}
	p := path.Join(d.path, name)
	err = d.c.do(FSLink, p, func() error {
		if d.n.names[name] != nil {
			return pathError("link", p, fs.ErrExist)
		}
		now := time.Now()
		d.n.names[name] = ct.n
		d.n.mtime, ct.n.changed = now, now
		id = ct.n.identity()
		return nil
	})
	return id, err
}

func (d *crashDir) Remove(name string) error {
	p := path.Join(d.path, name)
	return d.c.do(FSRemove, p, func() error {
		n := d.n.names[name]
		if n == nil {
			return pathError("remove", p, fs.ErrNotExist)
		}
		if n.isDir {
			return pathError("remove", p, syscall.EISDIR)
		}
		delete(d.n.names, name)
		d.n.mtime = time.Now()
		return nil
	})
}

func (d *crashDir) IsDir(name string) bool {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	n := d.n.names[name]
	return n != nil && n.isDir
}

func (d *crashDir) ModTime() (time.Time, error) {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	return d.n.mtime, nil
}

func (d *crashDir) Sync() error {
	return d.c.do(FSSyncDir, d.path, func() error {
		d.n.durableNames = cloneNames(d.n.names)
		return nil
	})
}

func (d *crashDir) Close() error { return nil }

// crashTemp is a file being written.
type crashTemp struct {
	c *CrashFS
	n *inode
}

func (t *crashTemp) Write(parts [][]byte) error {
	for _, p := range parts {
		if err := t.c.do(FSWrite, "", func() error {
			t.n.data = append(t.n.data, p...)
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func (t *crashTemp) Sync() error {
	return t.c.do(FSSyncFile, "", func() error {
		t.n.durable = len(t.n.data)
		return nil
	})
}

func (t *crashTemp) Close() error { return nil }

// crashFile is a file being read.
type crashFile struct {
	c *CrashFS
	n *inode
}

func (f *crashFile) ReadAt(p []byte, off int64) (int, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *crashFile) Stat() (filebucket.Info, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	return filebucket.Info{
		Size: int64(len(f.n.data)), ModTime: f.n.mtime,
		NotFile: f.n.isDir, ID: f.n.identity(),
	}, nil
}

func (f *crashFile) Close() error { return nil }

func (n *inode) identity() filebucket.ID {
	return filebucket.ID{Inode: n.id, Change: n.changed.UnixNano()}
}
