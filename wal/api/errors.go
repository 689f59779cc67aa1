package api

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// The errors without facts. Test for them with errors.Is.
var (
	// ErrNotFound: no log, or no producer, of that name or id.
	ErrNotFound error = &sentinel{"not found", fs.ErrNotExist}
	// ErrDeleted: the log that the handle is bound to was deleted; a log of
	// the same name is another log. Is ErrNotFound too.
	ErrDeleted error = &sentinel{"log deleted", ErrNotFound}
	// ErrExists: a log of that name is there already.
	ErrExists error = &sentinel{"log exists", fs.ErrExist}
	// ErrClosed: the client, writer, reader or node was closed; nothing was
	// done.
	ErrClosed = errors.New("closed")
	// ErrUnavailable: the service can't do it now, and nothing was done. The
	// same call may succeed later.
	ErrUnavailable = errors.New("unavailable")
	// ErrMoved: the chain that would have carried the batch is over. The
	// batch may be stored all the same: the identical batch, sent again, is
	// stored or answered once.
	ErrMoved = errors.New("log moved to another chain")
	// ErrUncertain: the outcome is unknown; the entries may be in the log, or
	// appear in it later.
	ErrUncertain = errors.New("outcome unknown")
	// ErrUnknownProducer: the log knows no such producer (any more). What was
	// in flight under it is uncertain.
	ErrUnknownProducer = errors.New("unknown producer")
	// ErrStored: the batch was stored long ago; its LSNs are forgotten. It
	// will not be stored again.
	ErrStored = errors.New("already stored")
	// ErrInvalid: the call itself is malformed; the text says how.
	ErrInvalid = errors.New("invalid")
	// ErrForbidden: the node does not do that for anybody, or not as it is
	// configured.
	ErrForbidden = errors.New("forbidden")
)

// sentinel is an error that is also another one, without its text.
type sentinel struct {
	text string
	is   error
}

func (e *sentinel) Error() string { return e.text }
func (e *sentinel) Unwrap() error { return e.is }

// FencedError: somebody newer has taken over as producer, or as exclusive
// writer. Nothing was stored.
type FencedError struct {
	What       string // "producer epoch" or "generation"
	Have, Want uint64 // what the batch carried, what the log is at
}

func (e *FencedError) Error() string {
	return fmt.Sprintf("fenced: %s %d is over, the log is at %d", e.What, e.Have, e.Want)
}

// TailError: the tail was not where IfTail wanted it. Nothing was stored.
type TailError struct {
	Want, Tail fragment.LSN
}

func (e *TailError) Error() string {
	return fmt.Sprintf("tail is %d, not %d", e.Tail, e.Want)
}

// TrimmedError: the LSN was trimmed; First is the first LSN left.
type TrimmedError struct {
	LSN, First fragment.LSN
}

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("LSN %d is trimmed, the first left is %d", e.LSN, e.First)
}

// BeyondTailError: the position lies past the durable tail.
type BeyondTailError struct {
	LSN, Tail fragment.LSN
}

func (e *BeyondTailError) Error() string {
	return fmt.Sprintf("LSN %d is beyond the durable tail %d", e.LSN, e.Tail)
}

// SequenceError: a batch did not continue its producer's sequence, or came
// again with other bytes. Nothing was stored.
type SequenceError struct {
	Have     uint64 // the first sequence of the batch
	Last     uint64 // the producer's last stored sequence
	Conflict bool   // Have is stored, with other bytes
}

func (e *SequenceError) Error() string {
	if e.Conflict {
		return fmt.Sprintf("sequence %d is stored with other bytes (the producer is at %d)", e.Have, e.Last)
	}
	return fmt.Sprintf("sequence %d does not follow %d, the producer's last", e.Have, e.Last)
}

// LimitError: something is over a limit. Nothing was done.
type LimitError struct {
	What         string
	Limit, Value uint64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: %d is over the limit of %d", e.What, e.Value, e.Limit)
}

// WrongClusterError: the node that answers belongs to another cluster than the
// client was dialled to, where its ids mean something else. Nothing was done.
type WrongClusterError struct {
	Have string // UUID of the node's cluster
}

func (e *WrongClusterError) Error() string {
	return fmt.Sprintf("the node that answers belongs to another cluster, %s: dial again", e.Have)
}

// BusyError: the service has too much to do; nothing was done. The same call
// may succeed after a while. Is ErrUnavailable.
type BusyError struct {
	What       string        // what there is too much of
	RetryAfter time.Duration // when to try again; 0: the caller decides
}

func (e *BusyError) Error() string { return "unavailable: " + e.What }
func (e *BusyError) Unwrap() error { return ErrUnavailable }

// ElsewhereError: another node writes the log; nothing was done here. The same
// call, at that node, may succeed: for a batch that means the identical one. Is
// ErrMoved.
type ElsewhereError struct {
	Node string // identity of the node that writes the log
	Addr string // where it serves; empty: not known
}

func (e *ElsewhereError) Error() string {
	if e.Addr == "" {
		return "the log is written by node " + e.Node
	}
	return fmt.Sprintf("the log is written by node %s, at %s", e.Node, e.Addr)
}

func (e *ElsewhereError) Unwrap() error { return ErrMoved }

// LagError: what the node knows of the log is older than the caller's MaxLag
// allows. Another node may know more. Is ErrUnavailable.
type LagError struct {
	Age    time.Duration // how long ago it surely was current
	MaxLag time.Duration
}

func (e *LagError) Error() string {
	return fmt.Sprintf("what this node knows of the log is %v old, at most %v was asked for", e.Age, e.MaxLag)
}

func (e *LagError) Unwrap() error { return ErrUnavailable }

// StaleError: a configuration was changed by somebody else in between.
type StaleError struct {
	What       string
	Have, Want uint64
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("%s is at %d, not %d: changed in between", e.What, e.Want, e.Have)
}

// DataLossError: the entries [From, To) were acknowledged and can't be read
// any more. What lies around them can: continue at To.
type DataLossError struct {
	Log      fragment.LogID
	From, To fragment.LSN
	Object   string // the object that is missing or damaged
	Err      error
}

func (e *DataLossError) Error() string {
	return fmt.Sprintf("data loss: log %d, LSNs [%d, %d), object %s: %v", e.Log, e.From, e.To, e.Object, e.Err)
}

func (e *DataLossError) Unwrap() error { return e.Err }
