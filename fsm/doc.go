// Package fsm is the replicated metadata of a wpd cluster as a pure state
// machine: a command goes in, a new state and a result come out.
//
// It holds the cluster's identity, its nodes with their boots and addresses,
// the chains that were granted to them, with cuts and seals, and the logs: name,
// configuration, generation, extents and trim point. It holds nothing per
// fragment, nothing per cut and log, and no entry. Cuts can be merged, so that
// a chain that lives long stays small. What stays for ever is one record per
// chain and one per node, also of those that are over: that a chain is not there
// always means that it was never granted here.
//
// # What callers may rely on
//
// Apply is a function of the state and the command alone: no clock, no chance,
// no I/O, no goroutine, and no order that is taken from a map. Whatever a
// decision needs (time, ids, boot numbers) the proposer stamps into the
// command, together with the epoch, boot, attachment, generation or version
// that the decision rests on; a command whose ground has changed is refused.
//
// A command ends in one of three ways. It takes effect, or it repeats one that
// already has and changes nothing: Result.Err is nil. It is refused: Result.Err
// says why, with facts, and the state is as before; every replica refuses it
// alike. Or it can't be judged by this code, or contradicts what can't change:
// Apply itself returns an error, one that matches ErrStop, and the node must
// stop, because going on would make it another replica than the rest.
//
// Epochs, log ids and attachments are given out in ascending order from 1 and
// never twice, also not after a delete. A chain's seal never changes. A removed
// node never comes back, has no open chain and is not asked to seal one. The
// extents of a log meet end to start, and only the last one may be without an
// end. Of the last two, one names the chain that holds where the log's
// producers stand, if any chain does: neither a trim nor the next attach drops
// that one.
//
// A Node, Chain or Log that was handed out never changes: a command replaces
// it. So readers may keep one past the lock that guards the State, and must
// not write to it. The State itself is not safe for concurrent use.
//
// After a restore or a recovery the metadata may be older than the bucket. The
// next incarnation (NewNextIncarnation) ends all that was being written and
// raises what is given out above all that is in use; then what the bucket holds
// beyond the metadata is adopted: chains, logs, and where known logs went on
// (NewAdoptChain, NewAdoptLog, NewAdoptExtents).
//
// # What it refuses to do
//
// It does not look into the bucket and does not know how durable a log is; the
// proposer of a trim, a detach, a seal or a blank extent vouches for that. It does not decide
// who is alive.
//
// The commands and the records of a snapshot are specified in
// fsmpb/fsm.proto, the frame around the records beside Frozen.WriteTo.
package fsm
