package filebucket

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// namedTemps makes temporary files that have a name, in a hidden directory at
// the top of the bucket. While it is open it holds a shared lock on a file
// there; whoever can get that lock exclusively knows that no process, on this
// machine or another, is writing, and may remove what is left.
type namedTemps struct {
	dir string

	mu   sync.Mutex
	lock *os.File // nil while closed
}

// lockName is the file in the hidden directory that is locked.
const lockName = "lock"

// open makes the hidden directory, cleans it if nobody uses it, and keeps the
// lock.
func (n *namedTemps) open() error {
	if err := os.Mkdir(n.dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot be written: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(n.dir, lockName), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return fmt.Errorf("lock temporary files: %w", err)
	}
	if ok, err := tryLock(f); err != nil {
		return errors.Join(fmt.Errorf("lock temporary files: %w", err), f.Close())
	} else if ok {
		if err := n.removeAll(); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	// Between the two locks another may clean; nothing of ours is there yet.
	if err := shareLock(f); err != nil {
		return errors.Join(fmt.Errorf("lock temporary files: %w", err), f.Close())
	}
	n.lock = f
	return nil
}

// clean removes what processes that are gone have left, if there is anything.
func (n *namedTemps) clean() error {
	if _, err := os.Stat(n.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := n.open(); err != nil {
		return err
	}
	return n.Close()
}

// removeAll empties the hidden directory, but for the lock. The caller holds it
// exclusively.
func (n *namedTemps) removeAll() error {
	entries, err := os.ReadDir(n.dir)
	if err != nil {
		return fmt.Errorf("list temporary files: %w", err)
	}
	for _, e := range entries {
		if e.Name() == lockName {
			continue
		}
		if err := os.Remove(filepath.Join(n.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove a left-over temporary file: %w", err)
		}
	}
	return nil
}

// Close gives the lock back. It may be called again.
func (n *namedTemps) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lock == nil {
		return nil
	}
	f := n.lock
	n.lock = nil
	return f.Close()
}

// namedTemp is a temporary file with a name.
type namedTemp struct {
	f    *os.File
	path string // "" once removed
}

func (n *namedTemps) create() (Temp, error) {
	path := filepath.Join(n.dir, unique())
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		// Not wrapped: "exists" or "does not exist" would be taken for the
		// object's.
		return nil, fmt.Errorf("create %s: %v", path, err)
	}
	return &namedTemp{f: f, path: path}, nil
}

func (t *namedTemp) Write(parts [][]byte) error {
	for _, p := range parts {
		if _, err := t.f.Write(p); err != nil {
			return err
		}
	}
	return nil
}

func (t *namedTemp) Sync() error { return t.f.Sync() }

// remove takes the temporary name away. If that fails, the next open of the
// bucket does it.
func (t *namedTemp) remove() {
	if t.path != "" {
		_ = os.Remove(t.path)
		t.path = ""
	}
}

func (t *namedTemp) Close() error {
	t.remove()
	return t.f.Close()
}

// unique is a name that nobody else has.
func unique() string { return rand.Text() }

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
