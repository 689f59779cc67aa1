package filebucket

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	// fileMode and dirMode keep logs from users outside the group.
	fileMode = 0o640
	dirMode  = 0o750
)

// disk is a real file system below one directory.
type disk struct {
	// named makes temporary files where O_TMPFILE cannot; nil where it can.
	named *namedTemps
}

// Open opens the bucket in a directory of this machine's file systems. The
// directory and its parents are made, durably, if missing; what a process that
// died has left half-written is removed. It fails if the directory cannot be
// written, if it is a file, or if its file system has no hard links.
func Open(dir string) (*Bucket, error) {
	b, err := open(dir, false)
	if err != nil {
		return nil, fmt.Errorf("open bucket directory %s: %w", dir, err)
	}
	return b, nil
}

// open is Open; alwaysNamed leaves O_TMPFILE out, for tests.
func open(dir string, alwaysNamed bool) (*Bucket, error) {
	if err := supported(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := makeDurable(dir); err != nil {
		return nil, err
	}
	d := &disk{}
	temps := &namedTemps{dir: filepath.Join(dir, reserved+"tmp")}
	if alwaysNamed || !unnamedWorks(d, dir) {
		if err := temps.open(); err != nil {
			return nil, err
		}
		d.named = temps
	} else if err := temps.clean(); err != nil {
		return nil, err
	}
	b := OpenFS(d, dir)
	b.closer = temps
	if err := errors.Join(probe(b), removeProbes(b)); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// probe makes, names and removes a file, as Create and Delete will.
func probe(b *Bucket) error {
	d, err := b.dirs.get("", false)
	if err != nil {
		return err
	}
	defer b.dirs.put(d)
	t, err := d.h.CreateTemp()
	if err != nil {
		return fmt.Errorf("cannot be written: %w", err)
	}
	defer t.Close() // of an empty file
	name := probePrefix + unique()
	if _, err := d.h.Link(t, name); err != nil {
		return fmt.Errorf("hard links do not work: %w", err)
	}
	return removeProbe(d, name)
}

// probePrefix starts the names of probe's files.
const probePrefix = reserved + "probe-"

// removeProbe removes a probe file, if another's removeProbes has not yet.
func removeProbe(d *dir, name string) error {
	if err := d.h.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeProbes removes what probes that crashed have left.
func removeProbes(b *Bucket) error {
	d, err := b.dirs.get("", false)
	if err != nil {
		return err
	}
	defer b.dirs.put(d)
	var names []string
	err = b.dirs.fs.ReadDir(b.dirs.root, func(name string, _ bool) bool {
		if strings.HasPrefix(name, probePrefix) {
			names = append(names, name)
		}
		return true
	})
	for _, name := range names {
		err = errors.Join(err, removeProbe(d, name))
	}
	return err
}

// unnamedWorks reports whether files made with O_TMPFILE can be given a name:
// it takes the file system's support and a mounted /proc. Any doubt is a no;
// what is really wrong shows itself again with named files.
func unnamedWorks(d *disk, dir string) bool {
	b := OpenFS(d, dir)
	defer b.Close() // of a directory handle
	return probe(b) == nil
}

// makeDurable makes a directory and its parents, each durable before the next.
// The entries of those that exist are made durable too: whoever made them may
// have died before. Existing parents that we may not open are left alone.
func makeDurable(dir string) error {
	info, err := os.Stat(dir)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !missing:
		return err
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s is not a directory but a file: %w", dir, syscall.ENOTDIR)
	}
	up := filepath.Dir(dir)
	if up == dir {
		return nil
	}
	if err := makeDurable(up); err != nil {
		return err
	}
	if missing {
		if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := syncDir(up); err != nil && (missing || !harmless(err)) {
		return fmt.Errorf("fsync %s: %w", up, err)
	}
	return nil
}

// harmless reports whether a parent that existed before cannot be fsynced for
// a reason that says nothing about its entries: no permission, or a kind of
// file system that has nothing to sync.
func harmless(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EINVAL) ||
		errors.Is(err, syscall.EROFS) || errors.Is(err, errors.ErrUnsupported)
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d *disk) Mkdir(path string) error { return os.Mkdir(path, dirMode) }

func (d *disk) ReadDir(path string, each func(name string, isDir bool) bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // of a directory
	for {
		entries, err := f.ReadDir(1024)
		for _, e := range entries {
			kind := e.Type()
			if kind&fs.ModeSymlink != 0 {
				info, err := os.Stat(filepath.Join(path, e.Name()))
				if err != nil {
					continue // dangling
				}
				kind = info.Mode().Type()
			}
			if (kind.IsRegular() || kind.IsDir()) && !each(e.Name(), kind.IsDir()) {
				return nil
			}
		}
		if len(entries) == 0 || err != nil {
			return ignoreEOF(err)
		}
	}
}
