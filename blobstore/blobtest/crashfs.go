package blobtest

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/wpd-io/wpd/blobstore/filebucket"
)

// FSOp is a kind of operation of a [CrashFS].
type FSOp string

// The operations that change something come first; only they are counted.
const (
	FSMkdir    FSOp = "mkdir"
	FSTemp     FSOp = "temp"
	FSWrite    FSOp = "write"
	FSSyncFile FSOp = "sync file"
	FSLink     FSOp = "link"
	FSRemove   FSOp = "remove"
	FSSyncDir  FSOp = "sync dir"

	FSOpen    FSOp = "open"
	FSReadDir FSOp = "read dir"
)

// ErrStopped is what every operation returns after [CrashFS.StopAt] struck.
var ErrStopped = errors.New("blobtest: the file system has stopped")

// CrashFS is a file system in memory with the durability of a real one: what a
// file holds survives a power loss if the file was synced since, and what a
// directory names survives if the directory was. Use [NewCrashFS].
type CrashFS struct {
	mu     sync.Mutex
	root   *inode
	inodes uint64

	ops     int // operations so far that change something
	counts  map[FSOp]int
	stopAt  int // 0: never
	applied bool
	stopped bool
	hook    func(op FSOp, path string) error
}

var _ filebucket.FS = (*CrashFS)(nil)

// inode is a file or a directory. The durable fields are what is on the disk.
type inode struct {
	id             uint64
	isDir          bool
	data           []byte // of a file; only ever appended to
	durable        int    // how many bytes of data are durable
	names          map[string]*inode
	durableNames   map[string]*inode
	changed, mtime time.Time
}

// NewCrashFS makes a file system with an empty, durable directory "/".
func NewCrashFS() *CrashFS {
	c := &CrashFS{counts: make(map[FSOp]int)}
	c.root = c.newInodeLocked(true)
	return c
}

// Bucket opens the bucket in "/".
func (c *CrashFS) Bucket() *filebucket.Bucket { return filebucket.OpenFS(c, "/") }

// Ops counts the operations so far that change something.
func (c *CrashFS) Ops() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ops
}

// Count counts the operations of one kind so far, those that failed included.
func (c *CrashFS) Count(op FSOp) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[op]
}

// StopAt makes the k-th operation that changes something, counted from the file
// system's making, and everything after it fail with [ErrStopped]. With applied
// that operation is done, and only its result is lost. 0 takes the order back.
func (c *CrashFS) StopAt(k int, applied bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopAt, c.applied, c.stopped = k, applied, false
}

// Stopped reports whether StopAt has struck.
func (c *CrashFS) Stopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// Hook has f called before every operation, with the path it concerns ("" for
// what concerns a file without a name); an error of f is the operation's, which
// is then not done. f must not call the file system. nil takes it back.
func (c *CrashFS) Hook(f func(op FSOp, path string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hook = f
}

// PowerLoss returns the file system as a power loss at this moment would leave
// it, without any of this one's orders. With rnd, each change that was not synced
// has an even chance to have reached the disk anyway, unsynced data in part;
// without, none has. This file system is not changed: the process that runs on
// it goes on, but the world that counts is the other.
func (c *CrashFS) PowerLoss(rnd *rand.Rand) *CrashFS {
	c.mu.Lock()
	defer c.mu.Unlock()
	after := NewCrashFS()
	after.inodes = c.inodes
	after.root = survive(c.root, rnd, make(map[*inode]*inode))
	return after
}

// survive copies what of an inode outlives a power loss.
func survive(n *inode, rnd *rand.Rand, seen map[*inode]*inode) *inode {
	if s := seen[n]; s != nil {
		return s
	}
	keep := n.durable
	if rnd != nil && keep < len(n.data) {
		keep += rnd.IntN(len(n.data) - keep + 1)
	}
	s := &inode{id: n.id, isDir: n.isDir, changed: n.changed, mtime: n.mtime, durable: keep}
	s.data = slices.Clip(n.data[:keep]) // the file's own appends go elsewhere
	seen[n] = s
	if !n.isDir {
		return s
	}
	s.names = make(map[string]*inode)
	for _, name := range unionNames(n) {
		child, durable := n.names[name], n.durableNames[name]
		if child != durable && (rnd == nil || rnd.IntN(2) == 0) {
			child = durable
		}
		if child != nil {
			s.names[name] = survive(child, rnd, seen)
		}
	}
	s.durableNames = cloneNames(s.names)
	return s
}

// unionNames returns all names, current and durable, in order, so that a seed
// repeats.
func unionNames(n *inode) []string {
	var names []string
	for name := range n.names {
		names = append(names, name)
	}
	for name := range n.durableNames {
		if n.names[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func cloneNames(m map[string]*inode) map[string]*inode {
	c := make(map[string]*inode, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

func (c *CrashFS) newInodeLocked(isDir bool) *inode {
	c.inodes++
	now := time.Now()
	n := &inode{id: c.inodes, isDir: isDir, changed: now, mtime: now}
	if isDir {
		n.names, n.durableNames = make(map[string]*inode), make(map[string]*inode)
	}
	return n
}

// do runs an operation under the lock, or fails it as ordered.
func (c *CrashFS) do(op FSOp, path string, apply func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[op]++
	if c.stopped {
		return ErrStopped
	}
	if c.hook != nil {
		if err := c.hook(op, path); err != nil {
			return err
		}
	}
	if op != FSOpen && op != FSReadDir {
		c.ops++
		if c.ops == c.stopAt {
			c.stopped = true
			if c.applied {
				_ = apply() // the result is what is lost
			}
			return ErrStopped
		}
	}
	return apply()
}

// findLocked walks a path.
func (c *CrashFS) findLocked(p string) (*inode, error) {
	n := c.root
	for part := range strings.SplitSeq(path.Clean("/"+p), "/") {
		if part == "" {
			continue
		}
		if !n.isDir {
			return nil, pathError("find", p, syscall.ENOTDIR)
		}
		if n = n.names[part]; n == nil {
			return nil, pathError("find", p, fs.ErrNotExist)
		}
	}
	return n, nil
}

func pathError(op, path string, err error) error {
	return &fs.PathError{Op: op, Path: path, Err: err}
}
