// Package wal is this node's logs. It attaches logs to the node's chain,
// gives batches their LSNs, answers retries, and reads logs across chains.
// It implements api.Service on top of room segment, which makes batches
// durable, and of the replicated metadata (Meta), which says which logs there
// are and which chain holds which range of them.
//
// It refuses to know Raft, object stores, the network and other nodes.
//
// Callers may rely on this. An append is acknowledged when its batch, and all
// that the chain holds before it, are durable. Whatever else is answered (a
// retry, a refusal, a tail) rests only on what is durable. LSNs are given out
// in the order of Append calls. Metadata is asked when a log is first used,
// when it is attached, and for administration; never on the way of an append
// or of a read of what is attached.
//
// Locks are taken in this order: Service.mu, log.mu, then those of a chain
// writer. Settling and waking happen without a lock of the writer.
package wal
