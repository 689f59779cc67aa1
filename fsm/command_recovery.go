package fsm

import (
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// NewNextIncarnation begins another life of the metadata, after a restore or a
// recovery, decided on the incarnation from; the present one becomes from + 1.
// The three numbers are the highest that were found in use anywhere: what is
// given out from then on lies above them (and above what the metadata gave
// out; they never fall). The nodes that are not among the members are removed.
// A member need not be known: one on a new machine registers afterwards. All
// chains that are not sealed are being sealed from then on, by the sealer, who
// is one of the members. Refused with *StaleError, *RemovedError for a removed
// member, *InvalidError.
func NewNextIncarnation(from uint64, highestEpoch fragment.Epoch, highestLog fragment.LogID, highestAttachment fragment.Attachment, members []string, sealer string) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_NextIncarnation{NextIncarnation: &fsmpb.NextIncarnation{
		From:         from,
		HighestEpoch: uint64(highestEpoch), HighestLog: uint64(highestLog), HighestAttachment: uint64(highestAttachment),
		Members: members, Sealer: sealer,
	}}}
}

// NewAdoptChain puts a chain that the bucket holds into metadata that lack it,
// as one that is being sealed. Of c it takes Epoch, which must have been given
// out, Node and Boot, which need not be known, Incarnation, Window, Kind, Log,
// Cuts, of which the proposer vouches that their indexes are true, and Sealer,
// who must be known. One that is there with equal facts (but for the Sealer and
// the Cuts) is left as it is. Refused with *ChainExistsError, *RangeError,
// *NotFoundError, *RemovedError, *InvalidError.
func NewAdoptChain(c Chain) *fsmpb.Command {
	cuts := make([]*fsmpb.Cut, len(c.Cuts))
	for i, x := range c.Cuts {
		cuts[i] = x.proto()
	}
	return &fsmpb.Command{Command: &fsmpb.Command_AdoptChain{AdoptChain: &fsmpb.AdoptChain{
		Epoch: uint64(c.Epoch), Node: c.Node, Boot: c.Boot, Incarnation: c.Incarnation,
		Window: c.Window, Kind: uint32(c.Kind), Log: uint64(c.Log), Sealer: c.Sealer, Cuts: cuts,
	}}}
}

// NewAdoptLog puts a log that the bucket holds into metadata that lack it. Of l
// it takes ID, which must have been given out, Name, Config, First, Created,
// Generation and Extents; Result.Log is what it becomes. The extents' chains
// must be there, and the last one's not be open if that extent has no End. An
// equal one that is there is left as it is. Refused with *ExistsError if another
// has the id or the name, *NameError, *InvalidError.
func NewAdoptLog(l Log) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_AdoptLog{AdoptLog: &fsmpb.AdoptLog{
		Log: uint64(l.ID), Name: l.Name, Config: l.Config.proto(),
		First: uint64(l.First), CreatedMicros: int64(l.Created), Generation: uint64(l.Generation), Extents: extentsProto(l.Extents),
	}}}
}

// NewAdoptExtents says how a log went on, as the bucket has it, after the stay
// that the metadata know as its last one, which has the attachment previous (0
// for none). Of l it takes ID, Extents, of which the chains must be there and
// hold something of the log, and First and Generation, which rise to these. The
// stay before must not be on an open chain; blank says of it what it says in
// NewAttach, and otherwise it ends where the first of the extents begins. If
// the last of the extents is there already, the others are taken to be. Nothing
// new is no change. Result.Log is the log afterwards. Refused with
// *NotFoundError, *StaleError, *AttachedError, *ChainStateError, *RangeError,
// *InvalidError.
func NewAdoptExtents(l Log, previous fragment.Attachment, blank bool) *fsmpb.Command {
	return &fsmpb.Command{Command: &fsmpb.Command_AdoptExtents{AdoptExtents: &fsmpb.AdoptExtents{
		Log: uint64(l.ID), Previous: uint64(previous), Blank: blank,
		First: uint64(l.First), Generation: uint64(l.Generation), Extents: extentsProto(l.Extents),
	}}}
}
