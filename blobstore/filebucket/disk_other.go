//go:build !linux

package filebucket

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// diskDir is a directory of a real file system, by its path. It does not notice
// when the path comes to mean another directory.
type diskDir struct {
	disk *disk
	f    *os.File
	path string
}

func (d *disk) OpenDir(path string) (Dir, error) {
	f, err := os.OpenFile(filepath.Join(path, "."), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	return &diskDir{disk: d, f: f, path: path}, nil
}

func (d *diskDir) CreateTemp() (Temp, error) {
	if d.disk.named == nil {
		return nil, errors.ErrUnsupported // there is no O_TMPFILE here
	}
	return d.disk.named.create()
}

func (d *diskDir) Link(t Temp, name string) (ID, error) {
	n, ok := t.(*namedTemp)
	if !ok {
		return ID{}, errors.New("link: a file of another file system")
	}
	if err := os.Link(n.path, filepath.Join(d.path, name)); err != nil {
		return ID{}, err
	}
	n.remove()
	return ID{}, nil
}

func (d *diskDir) Remove(name string) error { return os.Remove(filepath.Join(d.path, name)) }

func (d *diskDir) IsDir(name string) bool {
	info, err := os.Stat(filepath.Join(d.path, name))
	return err == nil && info.IsDir()
}

func (d *diskDir) ModTime() (time.Time, error) {
	info, err := d.f.Stat()
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

func (d *diskDir) Sync() error { return d.f.Sync() }

func (d *diskDir) Close() error { return d.f.Close() }

type diskFile struct{ *os.File }

// Open does not wait for a writer if somebody has put a pipe there.
func (d *disk) Open(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (f diskFile) Stat() (Info, error) {
	info, err := f.File.Stat()
	if err != nil {
		return Info{}, err
	}
	return Info{Size: info.Size(), ModTime: info.ModTime(), NotFile: !info.Mode().IsRegular()}, nil
}
