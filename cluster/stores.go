package cluster

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// snapshotsKept is how many snapshots stay on disk. Raft falls back to an
// older one by itself, but cuts its log by the newest: we refuse to start
// then, and the older one is there for whoever repairs it.
const snapshotsKept = 2

// boltLockTimeout bounds the wait for bbolt's own lock, for platforms and
// file systems where LOCK does not hold.
const boltLockTimeout = 200 * time.Millisecond

// stores is what raft keeps: its log, its stable store, its snapshots.
type stores struct {
	dir    string // of raft's files; empty: in memory
	logs   raft.LogStore
	stable raft.StableStore
	snaps  raft.SnapshotStore
	close  func() error
}

func memoryStores() *stores {
	s := raft.NewInmemStore()
	return &stores{logs: s, stable: s, snaps: raft.NewInmemSnapshotStore(), close: func() error { return nil }}
}

// openStores opens the stores below a data directory and reads all of them
// once, so that damage is an error here and not a panic in raft's goroutines.
func openStores(d *dataDir, noSync bool, logger hclog.Logger) (_ *stores, err error) {
	dir, err := d.makeRaft()
	if err != nil {
		return nil, err
	}
	s := &stores{dir: dir, close: func() error { return nil }}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := guard(func() error { return s.open(noSync, logger) }); err != nil {
		if errors.Is(err, bolterrors.ErrTimeout) {
			return nil, &LockedError{Dir: d.path}
		}
		return nil, &DataDirError{Dir: d.path, Reason: "has damaged or unreadable raft files", Err: err}
	}
	if err := guard(s.verify); err != nil {
		return nil, &DataDirError{Dir: d.path, Reason: "has damaged raft files", Err: err}
	}
	// The store's files are new, or they were there before: either way their
	// names are durable from here on.
	return s, syncDir(dir)
}

func (s *stores) open(noSync bool, logger hclog.Logger) error {
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path:   filepath.Join(s.dir, boltName),
		NoSync: noSync,
		BoltOptions: &bbolt.Options{
			Timeout:      boltLockTimeout,
			FreelistType: bbolt.FreelistMapType,
		},
	})
	if err != nil {
		return fmt.Errorf("open %s: %w", boltName, err)
	}
	s.logs, s.stable, s.close = bolt, bolt, bolt.Close
	snaps, err := raft.NewFileSnapshotStoreWithLogger(s.dir, snapshotsKept, logger)
	if err != nil {
		return fmt.Errorf("open snapshots: %w", err)
	}
	s.snaps = snaps
	return nil
}

// verify reads the newest snapshot and every entry of the raft log: each must
// be there, in its place and, if it is a command, whole; and the log must go
// on where the snapshot ends. Raft keeps some ten thousand entries, so this takes
// milliseconds.
func (s *stores) verify() error {
	first, err := s.logs.FirstIndex()
	if err != nil {
		return fmt.Errorf("read the first index: %w", err)
	}
	last, err := s.logs.LastIndex()
	if err != nil {
		return fmt.Errorf("read the last index: %w", err)
	}
	snaps, err := s.snaps.List()
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	var snapshot uint64
	if len(snaps) > 0 {
		snapshot = snaps[0].Index
		if err := s.verifySnapshot(snaps[0].ID); err != nil {
			return fmt.Errorf("read snapshot %s: %w", snaps[0].ID, err)
		}
	}
	if last != 0 && first > snapshot+1 {
		return fmt.Errorf("the raft log begins at %d, the newest readable snapshot ends at %d: a snapshot is lost", first, snapshot)
	}
	for i := first; i <= last && last != 0; i++ {
		var entry raft.Log
		if err := s.logs.GetLog(i, &entry); err != nil {
			return fmt.Errorf("read raft log entry %d: %w", i, err)
		}
		if entry.Index != i {
			return fmt.Errorf("raft log entry %d says that it is %d", i, entry.Index)
		}
		if entry.Type != raft.LogCommand {
			continue
		}
		if err := checkEnvelope(entry.Data); err != nil {
			return fmt.Errorf("raft log entry %d: %w", i, err)
		}
	}
	return nil
}

// verifySnapshot checks the checksum of a snapshot, which is what opening it
// does. What is in it is for Restore to judge.
func (s *stores) verifySnapshot(id string) error {
	_, r, err := s.snaps.Open(id)
	if err != nil {
		return err
	}
	return r.Close()
}

// empty tells whether raft was never bootstrapped here. Bootstrapping sets
// the term first; a crash right after that leaves a term and nothing else.
func (s *stores) empty() (bool, error) {
	last, err := s.logs.LastIndex()
	if err != nil {
		return false, err
	}
	snaps, err := s.snaps.List()
	return last == 0 && len(snaps) == 0, err
}

// last is the last index that raft has here, in its log or in a snapshot.
func (s *stores) last() (uint64, error) {
	last, err := s.logs.LastIndex()
	if err != nil {
		return 0, err
	}
	snaps, err := s.snaps.List()
	if len(snaps) > 0 {
		last = max(last, snaps[0].Index)
	}
	return last, err
}

// guard turns a panic of f, and a read beyond the end of a mapped file, into
// an error: bbolt checks little of what it reads.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("raft's store: %v", p)
		}
	}()
	return f()
}
