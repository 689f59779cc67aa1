package fsm

import (
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// NewCreateLog makes a log; Result.Log is it. Refused with *ExistsError if the
// name is taken, *NameError, *InvalidError.
func NewCreateLog(name string, c LogConfig, created fragment.Micros) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_CreateLog{CreateLog: &fsmpb.CreateLog{
		Name: name, Config: c.proto(), CreatedMicros: int64(created),
	}}}
}

// NewDeleteLog deletes a log. Refused with *NotFoundError.
func NewDeleteLog(id fragment.LogID) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_DeleteLog{DeleteLog: &fsmpb.DeleteLog{Log: uint64(id)}}}
}

// NewConfigureLog replaces the configuration that has the given version.
// Repeating the latest change is no change; otherwise refused with *StaleError.
func NewConfigureLog(id fragment.LogID, version uint64, c LogConfig) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_ConfigureLog{ConfigureLog: &fsmpb.ConfigureLog{
		Log: uint64(id), Version: version, Config: c.proto(),
	}}}
}

// NewAttach attaches a log to an open chain from LSN first on;
// Result.Attachment is the number of the stay. previous is the attachment of
// the log's last extent, 0 if it has none. That extent must have been
// detached, and then first is its end, or its chain be sealed, and then first
// is what the seal's index says, but not below the trim point.
//
// blank says that the proposer has seen that the last extent's chain is sealed
// and holds nothing of the log, not even where its producers stand. Then first
// is where that extent begins, and the new one takes its place. Without blank
// that extent stays, even if it has no entry, and an empty one before it goes.
// So blank must be said if it is so and only then, or where the producers
// stand may be lost.
//
// The same attach again, while it is the latest, returns the same number.
// Refused with *ChainStateError, *StaleError, *AttachedError, *DedicatedError,
// *RangeError, *InvalidError.
func NewAttach(id fragment.LogID, e fragment.Epoch, first fragment.LSN, previous fragment.Attachment, blank bool) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_Attach{Attach: &fsmpb.Attach{
		Log: uint64(id), Epoch: uint64(e), First: uint64(first), Previous: uint64(previous), Blank: blank,
	}}}
}

// NewDetach ends a stay on an open chain; the proposer vouches that all below
// end is durable. The same again, while no attach followed, is no change.
// Refused with *ChainStateError once the chain is being sealed: then its seal
// tells the end.
func NewDetach(id fragment.LogID, a fragment.Attachment, end fragment.LSN) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_Detach{Detach: &fsmpb.Detach{
		Log: uint64(id), Attachment: uint64(a), End: uint64(end),
	}}}
}

// NewOpenExclusive starts the generation g, one above the present one, for
// the owner of the log, which is attached under a to an open chain. Not
// repeatable: an owner that does not know the outcome looks at the log.
func NewOpenExclusive(id fragment.LogID, a fragment.Attachment, g fragment.Generation) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_OpenExclusive{OpenExclusive: &fsmpb.OpenExclusive{
		Log: uint64(id), Attachment: uint64(a), Generation: uint64(g),
	}}}
}

// NewTrim drops what lies below before. tail is the durable tail that the
// proposer read; before must not lie above it. A trim at or below the present
// trim point is no change.
func NewTrim(id fragment.LogID, before, tail fragment.LSN) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_Trim{Trim: &fsmpb.Trim{
		Log: uint64(id), Before: uint64(before), Tail: uint64(tail),
	}}}
}
