package wpd

import (
	"errors"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// The errors without facts. Test for them with errors.Is.
var (
	// ErrNotFound: no log, or no producer, of that name. Is fs.ErrNotExist.
	ErrNotFound = api.ErrNotFound
	// ErrDeleted: the log that the handle is bound to was deleted; a log of
	// the same name is another log. Is ErrNotFound too.
	ErrDeleted = api.ErrDeleted
	// ErrExists: a log of that name is there already. Is fs.ErrExist.
	ErrExists = api.ErrExists
	// ErrClosed: the client, writer, reader or service was closed; nothing
	// was done.
	ErrClosed = api.ErrClosed
	// ErrUnavailable: the service can't do it now, and nothing was done. The
	// same call may succeed later. A Writer tries again by itself.
	ErrUnavailable = api.ErrUnavailable
	// ErrUncertain: the outcome of an append is unknown; the entries may be
	// in the log, or appear in it later.
	ErrUncertain = api.ErrUncertain
	// ErrUnknownProducer: the log knows no such producer.
	ErrUnknownProducer = api.ErrUnknownProducer
	// ErrStored: the entries are durable in the log, but which LSNs they got
	// is forgotten. They will not be stored again.
	ErrStored = api.ErrStored
	// ErrInvalid: the call itself is malformed; the text says how.
	ErrInvalid = api.ErrInvalid
)

// The errors with facts. Test for them with errors.As or errors.AsType.
type (
	// FencedError: somebody newer has taken over as producer, or as exclusive
	// writer. Nothing was stored.
	FencedError = api.FencedError
	// TailError: the tail was not where IfTail wanted it. Nothing was stored.
	TailError = api.TailError
	// TrimmedError: the LSN was trimmed; First is the first LSN left.
	TrimmedError = api.TrimmedError
	// BeyondTailError: the position lies past the durable tail.
	BeyondTailError = api.BeyondTailError
	// SequenceError: a batch did not continue its producer's sequence; most
	// likely, two writers use one producer name. Nothing was stored.
	SequenceError = api.SequenceError
	// LimitError: something is over a limit, or a batch can't be one batch.
	// Nothing was done.
	LimitError = api.LimitError
	// StaleError: a configuration was changed by somebody else in between.
	StaleError = api.StaleError
	// WrongClusterError: another cluster answers at the address that was
	// dialled. Nothing was done.
	WrongClusterError = api.WrongClusterError
	// BusyError: the service has too much to do; nothing was done. Is
	// ErrUnavailable.
	BusyError = api.BusyError
	// DataLossError: acknowledged entries can't be read any more; what lies
	// around them can.
	DataLossError = api.DataLossError
)

// limitError returns err in the terms of this package.
func limitError(err error) error {
	if l, ok := errors.AsType[*fragment.LimitError](err); ok {
		return &LimitError{What: l.What, Limit: l.Limit, Value: l.Value}
	}
	return err
}
