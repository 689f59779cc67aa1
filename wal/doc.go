// Package wal is this node's logs. It attaches logs to the chains that this node
// writes, gives batches their LSNs, answers retries, hands logs over to other
// nodes, seals what it is asked to seal, and reads logs across chains, also
// those that other nodes write. It implements api.Service on top of room
// segment, which makes batches durable, and of the replicated metadata (Meta),
// which says which logs there are, which chain holds which range of them, and
// who writes.
//
// It refuses to know Raft, object stores, the network, and which node had better
// write a log: whoever is asked for a log that nobody writes, writes it.
//
// # What callers may rely on
//
// An append is acknowledged when its batch, and all that the chain holds before
// it, are durable: no clock, lease or leader is needed for that. Whatever else is
// answered (a retry, a refusal, an opened producer, a linearizable tail) rests
// only on what is durable, and is given only after the metadata have confirmed,
// asked after the caller has asked, that the chain was open; while the lease has
// lapsed, it waits. LSNs are given out in the order of Append calls. Metadata is
// asked when a log is first used, when it is attached, for administration and
// before a refusal; never on the way of an append or of a read of what is
// attached.
//
// Where another node writes a log, what needs its writer returns an
// *api.ElsewhereError, and nothing is done.
//
// A chain that somebody seals takes nothing more. What is in flight is settled
// by what comes of it, or by the committed seal if the store does not answer:
// what the seal counts is acknowledged, the rest is answered api.ErrMoved.
//
// # Where logs are
//
// A node writes one chain for all logs, and one for each log in use that is
// configured to have its own. All of them share one bound for what is not
// durable yet. A log leaves a chain by Detach, when all of it is durable and
// nobody waits for an answer; its gate stays shut until the outcome of that is
// known, however long it takes: had it gone on meanwhile, a late Detach would
// cut off what was acknowledged. Or the chain is sealed.
//
// # Reading what others write
//
// A chain of another node is followed, once for all readers of this one, while
// somebody reads it: its writer's feed (Service.Feed there, Peers.Follow here)
// tells what becomes durable, so that an idle follower asks nobody for anything.
// While there is no feed and somebody waits, the bucket is asked: what is durable
// in it is part of the chain, whether its writer lives or not. What a follower
// shows may be old, and says how old; a linearizable read asks the writer, or,
// if that does not answer, the metadata and then the bucket.
//
// Locks are taken in this order: Service.mu, log.mu, then those of a chain
// writer; and for chains that are followed, follows.mu, then a Follower's, then
// follow.mu, then log.mu, and follows.mu before Service.mu, too. A log's gate
// comes before all of them. Settling and waking happen without a lock of the
// writer.
package wal
