// Package segment makes one chain out of batches: it buffers them, flushes
// them as ordered, immutable fragments, acknowledges what is durable, cuts
// segments, and reads all of it back. It also ends chains: Seal finds where a
// chain stops, wins that place, and says what the chain held. The same code
// seals a node's own chain after a crash and that of a dead peer. And it lets
// others read a chain while it is written: Writer.Feed tells a Follower, at
// another node, what becomes durable; without a writer, a Follower finds that out
// from the bucket.
//
// It refuses to know logs' names, leases, Raft and object stores: it sees
// objects through Store, and tells its owner through Options what it needs
// done (commit a cut) and what happened (objects became durable).
//
// Callers may rely on this. Batches of one log keep the order in which they
// were handed to Writer.Append. A waiter is settled with nil only when its
// fragment, and all before it, are durable in the store; waiters are settled
// in order. Every object is one conditional create, retried with the same
// bytes until it is known to be there, or something else is. Once objects
// 1..n exist and none is a seal, they are part of the chain for ever.
//
// The rules are those of docs/architecture.md, "Writing" and "Taking over";
// the bytes are in docs/format.md.
package segment
