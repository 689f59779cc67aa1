package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The data directory. Only what is below raft is worth keeping: LOCK and
// VERSION are made anew when they are gone.
const (
	lockName    = "LOCK"    // locked while open; holds the process id
	versionName = "VERSION" // the format version of the directory, in decimal
	raftName    = "raft"
	boltName    = "raft.db" // in raft

	dirVersion = 1
)

// dataDir is an open and locked data directory.
type dataDir struct {
	path string
	lock *os.File
}

// openDataDir makes the directory if there is none, locks it, and makes sure
// that it is one of ours and of a version that we know.
func openDataDir(path string) (_ *dataDir, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, &DataDirError{Dir: path, Reason: "has no absolute path", Err: err}
	}
	if err := makeDir(path); err != nil {
		return nil, err
	}
	// Twice: not even a lock file is put into a directory of somebody else's,
	// and only under the lock does the answer last.
	if err := checkOurs(path); err != nil {
		return nil, err
	}
	d := &dataDir{path: path}
	if d.lock, err = lockDir(path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if err := checkOurs(path); err != nil {
		return nil, err
	}
	if err := d.stamp(); err != nil {
		return nil, err
	}
	return d, nil
}

func makeDir(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return &DataDirError{Dir: path, Reason: "is not a directory"}
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return &DataDirError{Dir: path, Reason: "can't be opened", Err: err}
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return &DataDirError{Dir: path, Reason: "can't be made", Err: err}
	}
	return syncDir(filepath.Dir(path))
}

// checkOurs refuses a directory that holds other things and neither our
// version file nor raft's store.
func checkOurs(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return &DataDirError{Dir: path, Reason: "can't be read", Err: err}
	}
	stranger := ""
	for _, e := range entries {
		switch e.Name() {
		case versionName:
			return checkVersion(path)
		case raftName:
			if _, err := os.Stat(filepath.Join(path, raftName, boltName)); err == nil {
				return nil
			}
		case lockName, versionName + ".tmp", "lost+found":
		default:
			stranger = e.Name()
		}
	}
	if stranger != "" {
		return &DataDirError{Dir: path, Reason: fmt.Sprintf("is not one of wpd's and not empty: it holds %q", stranger)}
	}
	return nil
}

func checkVersion(path string) error {
	name := filepath.Join(path, versionName)
	b, err := os.ReadFile(name)
	if err != nil {
		return &DataDirError{Dir: path, Reason: "has a version file that can't be read", Err: err}
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(b[:min(len(b), 64)])))
	switch {
	case err != nil || v < 1:
		return &DataDirError{Dir: path, Reason: fmt.Sprintf("has a version file that says %.64q, not a version", b)}
	case v > dirVersion:
		return &VersionError{What: "data directory " + path, Have: v, Known: dirVersion}
	}
	return nil
}

func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, &DataDirError{Dir: path, Reason: "can't be locked", Err: err}
	}
	ok, err := lockFile(f)
	if err == nil && !ok {
		err = &LockedError{Dir: path, PID: readPID(f)}
	} else if err == nil {
		err = writePID(f)
	}
	if err != nil {
		_ = f.Close()
		if _, ok := errors.AsType[*LockedError](err); ok {
			return nil, err
		}
		return nil, &DataDirError{Dir: path, Reason: "can't be locked", Err: err}
	}
	return f, nil
}

// writePID is for people and messages; the lock does not rest on it.
func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}

func readPID(f *os.File) int {
	b := make([]byte, 32)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(b[:n])))
	if err != nil {
		return 0
	}
	return pid
}

// stamp writes the version file if there is none.
func (d *dataDir) stamp() error {
	name := filepath.Join(d.path, versionName)
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	if err := writeSynced(name+".tmp", fmt.Appendf(nil, "%d\n", dirVersion)); err != nil {
		return &DataDirError{Dir: d.path, Reason: "can't be written to", Err: err}
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return &DataDirError{Dir: d.path, Reason: "can't be written to", Err: err}
	}
	return syncDir(d.path)
}

// makeRaft makes the directory of raft's files and returns its path.
func (d *dataDir) makeRaft() (string, error) {
	path := filepath.Join(d.path, raftName)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", &DataDirError{Dir: d.path, Reason: "can't be written to", Err: err}
	}
	return path, syncDir(d.path)
}

func (d *dataDir) close() error { return errors.Join(unlockFile(d.lock), d.lock.Close()) }

func writeSynced(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return &DataDirError{Dir: path, Reason: "can't be synced", Err: err}
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return &DataDirError{Dir: path, Reason: "can't be synced", Err: err}
	}
	return nil
}
