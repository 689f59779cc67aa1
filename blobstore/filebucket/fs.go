package filebucket

import (
	"io"
	"time"
)

// FS is what a bucket needs of a file system. Paths are absolute or relative as
// the bucket's directory was given, with "/" between parts. Errors satisfy
// errors.Is with fs.ErrNotExist, fs.ErrExist and syscall.ENOTDIR where these
// apply. All methods may be called at the same time.
type FS interface {
	// OpenDir opens an existing directory.
	OpenDir(path string) (Dir, error)
	// Mkdir makes one directory, whose parent exists. Not durable before the
	// parent's Sync.
	Mkdir(path string) error
	// ReadDir calls each for every entry, in any order, until it returns
	// false. Entries that are neither files nor directories are left out.
	// Symbolic links count as what they point to.
	ReadDir(path string, each func(name string, isDir bool) bool) error
	// Open opens a file for reading.
	Open(path string) (File, error)
}

// Dir is an open directory. It stays the same directory when its path comes to
// mean another one.
type Dir interface {
	// CreateTemp makes an empty file without a name in the bucket, on the
	// file system of this directory.
	CreateTemp() (Temp, error)
	// Link gives a file of this directory's CreateTemp a name, and returns
	// the file's identity as Stat will tell it. fs.ErrExist if the name is
	// taken, whatever has it. Not durable before Sync.
	Link(t Temp, name string) (ID, error)
	// Remove takes a file's name away. Not durable before Sync.
	Remove(name string) error
	// IsDir says whether the name is a directory; false if it is nothing.
	IsDir(name string) bool
	// ModTime is the time of the last change of the directory's entries, by
	// the file system's clock and with its granularity.
	ModTime() (time.Time, error)
	// Sync makes durable all that Link, Remove and Mkdir had done in this
	// directory before Sync was called.
	Sync() error
	// Close frees the handle.
	Close() error
}

// Temp is a file being written, by one goroutine.
type Temp interface {
	// Write appends the parts; it neither changes nor keeps them.
	Write(parts [][]byte) error
	// Sync makes the content durable.
	Sync() error
	// Close frees the handle, and the file if it has not been linked.
	Close() error
}

// File is a file open for reading.
type File interface {
	io.ReaderAt
	Stat() (Info, error)
	Close() error
}

// Info is what a bucket wants to know of a file.
type Info struct {
	// Size in bytes.
	Size int64
	// ModTime is when the content was written, by the file system's clock.
	ModTime time.Time
	// NotFile is set for a directory, and for whatever else is not a
	// regular file.
	NotFile bool
	// ID tells this file from all others.
	ID ID
}

// ID tells one file from all others of its file system that exist or existed,
// in practice: inode number and time of the last change of the inode (in ns),
// which linking sets. Two opens of an unchanged file give the same ID. The zero
// ID means that the file system cannot tell.
type ID struct {
	Inode  uint64
	Change int64
}
