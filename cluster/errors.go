package cluster

import (
	"errors"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
)

var (
	// ErrClosed means that the member is closed or closing, and that nothing
	// was done.
	ErrClosed = errors.New("the cluster member is closed")

	// ErrBusy means that raft did not take a proposal in time, and that
	// nothing was done.
	ErrBusy = errors.New("raft is busy")

	// ErrUncertain is matched by *UncertainError.
	ErrUncertain = errors.New("the outcome is unknown")

	// ErrNotLeader is matched by *NotLeaderError.
	ErrNotLeader = errors.New("this node does not lead")

	// ErrFailed is matched by every error of a member that has failed and
	// must be closed; Member.Err tells the cause.
	ErrFailed = errors.New("the cluster member has failed")
)

// UncertainError means that a command, or a change of the raft group, may have
// been applied, or may yet be. The state after a Confirm tells. It is an
// ErrUncertain.
type UncertainError struct{ Err error }

func (e *UncertainError) Error() string {
	return fmt.Sprintf("%v: %v", ErrUncertain, e.Err)
}

// Uncertain tells those who don't know this package what the error means.
func (e *UncertainError) Uncertain() bool { return true }

// Unwrap returns ErrUncertain and the cause.
func (e *UncertainError) Unwrap() []error { return []error{ErrUncertain, e.Err} }

// NotLeaderError means that nothing was done, because another node leads or
// none does. It is an ErrNotLeader.
type NotLeaderError struct {
	Leader string // identity of the leader, empty if not known
}

func (e *NotLeaderError) Error() string {
	if e.Leader == "" {
		return ErrNotLeader.Error() + ", and knows no leader"
	}
	return ErrNotLeader.Error() + "; the leader is " + e.Leader
}

func (e *NotLeaderError) Unwrap() error { return ErrNotLeader }

// LockedError means that another process, or another member in this one, has
// the data directory open.
type LockedError struct {
	Dir string
	PID int // of the other process, 0 if not known
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("data directory %s is in use by another process", e.Dir)
	}
	return fmt.Sprintf("data directory %s is in use by process %d", e.Dir, e.PID)
}

// DataDirError means that the data directory can't be one of ours, or is
// damaged.
type DataDirError struct {
	Dir    string
	Reason string
	Err    error // may be nil
}

func (e *DataDirError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("data directory %s %s: %v", e.Dir, e.Reason, e.Err)
	}
	return fmt.Sprintf("data directory %s %s", e.Dir, e.Reason)
}

func (e *DataDirError) Unwrap() error { return e.Err }

// VersionError means that a newer version of wpd wrote what was found.
type VersionError struct {
	What        string // a file or object
	Have, Known int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%s has format version %d, this version of wpd knows up to %d: use a newer wpd", e.What, e.Have, e.Known)
}

// NameError means that a data directory was made for a node of another name.
type NameError struct {
	Dir        string
	Have, Want string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("data directory %s belongs to node %q, not %q: use that name, or another directory", e.Dir, e.Have, e.Want)
}

// OtherClusterError means that data directory and bucket do not belong
// together.
type OtherClusterError struct {
	Dir       string // empty: in memory
	BucketURL string
	Fresh     bool               // the directory holds no metadata yet
	Mine      fragment.ClusterID // that of the directory; zero if Fresh
	Bucket    fragment.ClusterID // zero: the bucket holds no cluster
	WasURL    string             // the bucket that the directory was opened with last
}

func (e *OtherClusterError) Error() string {
	switch {
	case e.Dir == "":
		return fmt.Sprintf("%s belongs to cluster %s already, and metadata in memory can't know it: use that cluster's data directory, or an empty bucket or prefix", e.BucketURL, e.Bucket)
	case e.Fresh:
		return fmt.Sprintf("%s belongs to cluster %s already, and data directory %s is new: use that cluster's data directory, or an empty bucket or prefix", e.BucketURL, e.Bucket, e.Dir)
	case e.Bucket.IsZero():
		return fmt.Sprintf("data directory %s belongs to cluster %s, but %s holds no cluster (no cluster.json): is it the right bucket? It was %s", e.Dir, e.Mine, e.BucketURL, e.WasURL)
	}
	return fmt.Sprintf("data directory %s belongs to cluster %s (bucket %s), but %s belongs to cluster %s", e.Dir, e.Mine, e.WasURL, e.BucketURL, e.Bucket)
}

// CopiedError means that another life of this node's identity has taken a
// boot number: the data directory was copied, or restored from an older copy.
type CopiedError struct {
	Dir      string
	Identity string
	Boot     uint64 // the one that this directory was about to use
	Key      string // the object that says so
}

func (e *CopiedError) Error() string {
	return fmt.Sprintf("data directory %s was copied, or restored from an older copy: "+
		"it would start boot %d of node %s, but %s in the bucket is of another start. "+
		"Go on with the directory that was used last; this one must not be used again", e.Dir, e.Boot, e.Identity, e.Key)
}

// RolledBackError means that the bucket holds something that was made under
// metadata newer than ours: the metadata was restored from an older copy.
type RolledBackError struct {
	What  string // "chain epoch", "raft index", "incarnation"
	Where string // the object that was found, if known
	Found uint64
	Have  uint64 // the highest that our metadata knows
}

func (e *RolledBackError) Error() string {
	where := "the bucket"
	if e.Where != "" {
		where = e.Where
	}
	return fmt.Sprintf("the metadata was rolled back: %s has %s %d, the metadata knows none above %d. "+
		"Go on with the data directory that was used last", where, e.What, e.Found, e.Have)
}

// BucketError means that an object of the cluster's own is not what it should
// be.
type BucketError struct {
	Key    string
	Reason string
}

func (e *BucketError) Error() string { return fmt.Sprintf("object %s %s", e.Key, e.Reason) }
