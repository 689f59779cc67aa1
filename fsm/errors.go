package fsm

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/wpd-io/wpd/fragment"
)

var (
	// ErrNotFound is matched by refusals that name an unknown log, chain or
	// node. It is an fs.ErrNotExist.
	ErrNotFound = fmt.Errorf("not found: %w", fs.ErrNotExist)

	// ErrExists is matched by the refusal of a name that is taken. It is an
	// fs.ErrExist.
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

// StaleError refuses a command that was decided on something that has changed
// since.
type StaleError struct {
	What string // "boot", "attachment", "generation", "config version", "feature level"
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
// detached nor ended by a seal.
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
