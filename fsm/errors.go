package fsm

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/wpd-io/wpd/fragment"
)

var (
	// ErrNotFound is matched by refusals that name an unknown log, chain or
	// node. It is an fs.ErrNotExist.
	ErrNotFound = fmt.Errorf("not found: %w", fs.ErrNotExist)

	// ErrExists is matched by refusals of what is there already, or has its
	// name. It is an fs.ErrExist.
	ErrExists = fmt.Errorf("exists: %w", fs.ErrExist)

	// ErrNoCluster refuses whatever comes before InitCluster.
	ErrNoCluster = errors.New("the metadata belongs to no cluster yet")

	// ErrStop is matched by the errors of Apply after which the node must
	// stop: *UnknownCommandError and *BreachError.
	ErrStop = errors.New("the node must stop")
)

// NotFoundError refuses a command on something that is not there. It is an
// ErrNotFound.
type NotFoundError struct {
	What    string // "log", "chain", "node"
	Key     string
	Deleted bool // it was there once
}

func (e *NotFoundError) Error() string {
	if e.Deleted {
		return fmt.Sprintf("%s %s was deleted", e.What, e.Key)
	}
	return fmt.Sprintf("no %s %s", e.What, e.Key)
}

func (e *NotFoundError) Unwrap() error { return ErrNotFound }

// ExistsError refuses a name that another log has. It is an ErrExists. A
// proposer that does not know how its CreateLog ended compares Created.
type ExistsError struct {
	Name    string
	ID      fragment.LogID
	Created fragment.Micros
}

func (e *ExistsError) Error() string {
	return fmt.Sprintf("log %q exists (id %d)", e.Name, e.ID)
}

func (e *ExistsError) Unwrap() error { return ErrExists }

// ChainExistsError refuses to adopt a chain whose epoch was granted to somebody
// else, or otherwise. It is an ErrExists.
type ChainExistsError struct {
	Epoch fragment.Epoch
	Node  string // that the metadata know as its writer
	Boot  uint64
}

func (e *ChainExistsError) Error() string {
	return fmt.Sprintf("chain %s exists and is another: boot %d of %s writes it", e.Epoch, e.Boot, e.Node)
}

func (e *ChainExistsError) Unwrap() error { return ErrExists }

// NameTakenError refuses a node whose name another one has that is not
// removed. It is an ErrExists.
type NameTakenError struct {
	Name     string
	Identity string // who has it
}

func (e *NameTakenError) Error() string {
	return fmt.Sprintf("the name %q belongs to node %s: remove that one first, or take another name", e.Name, e.Identity)
}

func (e *NameTakenError) Unwrap() error { return ErrExists }

// RemovedError refuses a node that was removed. It never comes back: with a new
// data directory it is another one.
type RemovedError struct {
	Identity, Name string
}

func (e *RemovedError) Error() string {
	return fmt.Sprintf("node %s was removed from the cluster for ever; with an empty data directory it can join as a new node", e.Identity)
}

// FeatureError refuses a feature level, or a node, because the node does not
// know the level.
type FeatureError struct {
	Level uint64
	Nodes []string // identities of those that don't know it
}

func (e *FeatureError) Error() string {
	return fmt.Sprintf("feature level %d is above what these nodes know: %s", e.Level, strings.Join(e.Nodes, ", "))
}

// DedicatedError refuses to bring a log and a chain together because of whom
// the chain is for.
type DedicatedError struct {
	Log   fragment.LogID
	Epoch fragment.Epoch // of the chain, 0 if it was still to be granted
	For   fragment.LogID // the only log of that chain
}

func (e *DedicatedError) Error() string {
	if e.Epoch == 0 {
		return fmt.Sprintf("log %d is not configured to have a chain of its own", e.Log)
	}
	return fmt.Sprintf("chain %s is for log %d alone, not for log %d", e.Epoch, e.For, e.Log)
}

// CutsError refuses to merge cuts where no two or more cover the range exactly.
type CutsError struct {
	Epoch    fragment.Epoch
	From, To uint64 // the range
}

func (e *CutsError) Error() string {
	return fmt.Sprintf("chain %s has no two or more cuts that cover exactly [%d, %d)", e.Epoch, e.From, e.To)
}

// StaleError refuses a command that was decided on something that has changed
// since.
type StaleError struct {
	What string // "boot", "attachment", "generation", "config version", "feature level", "incarnation"
	Of   string // whose, for example "log 7"
	Have uint64 // what the state holds
	Want uint64 // what the command needs it to be
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("stale %s of %s: have %d, want %d", e.What, e.Of, e.Have, e.Want)
}

// ChainStateError refuses a command for which the chain is in the wrong state.
type ChainStateError struct {
	Epoch      fragment.Epoch
	Have, Want ChainState
}

func (e *ChainStateError) Error() string {
	return fmt.Sprintf("chain %s is %s, not %s", e.Epoch, e.Have, e.Want)
}

// AttachedError refuses to attach a log whose last extent has neither been
// detached nor ended by a seal, and to adopt extents of one that is being
// written.
type AttachedError struct {
	Log        fragment.LogID
	Epoch      fragment.Epoch
	Attachment fragment.Attachment
}

func (e *AttachedError) Error() string {
	return fmt.Sprintf("log %d is still attached to chain %s (attachment %d)", e.Log, e.Epoch, e.Attachment)
}

// RangeError refuses a number outside of [From, To).
type RangeError struct {
	What     string // for example "first LSN"
	Of       string // whose, for example "log 7"
	Value    uint64
	From, To uint64
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("%s %d of %s is outside of [%d, %d)", e.What, e.Value, e.Of, e.From, e.To)
}

// NameError refuses a log name.
type NameError struct {
	Name   string
	Reason string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("log name %.300q: %s", e.Name, e.Reason)
}

// InvalidError refuses a command that no state would take.
type InvalidError struct {
	Field  string
	Reason string
}

func (e *InvalidError) Error() string { return e.Field + ": " + e.Reason }

// ClusterError refuses to name a cluster that has another name.
type ClusterError struct {
	Have, Want fragment.ClusterID
}

func (e *ClusterError) Error() string {
	return fmt.Sprintf("the metadata belongs to cluster %s, not %s", e.Have, e.Want)
}

// UnknownCommandError says that this code can't judge a command: it was made
// by a newer node, or is damaged. It is an ErrStop.
type UnknownCommandError struct {
	Index  uint64 // of the command, 0 if it was not applied yet
	Reason string
}

func (e *UnknownCommandError) Error() string {
	if e.Index == 0 {
		return "unknown command: " + e.Reason
	}
	return fmt.Sprintf("unknown command at index %d: %s", e.Index, e.Reason)
}

func (e *UnknownCommandError) Unwrap() error { return ErrStop }

// BreachError says that a command contradicts what can't change. It is an
// ErrStop.
type BreachError struct {
	Index  uint64
	Reason string
}

func (e *BreachError) Error() string {
	return fmt.Sprintf("broken invariant at index %d: %s", e.Index, e.Reason)
}

func (e *BreachError) Unwrap() error { return ErrStop }
