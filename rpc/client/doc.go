// Package client is the network transport of wpd: Dial returns the log service
// of a cluster, as wal/api describes it, over gRPC. Package wpd stands on it.
//
// It decides nothing about logs. What it answers for is that a broken
// connection never blurs an outcome: a call that surely did not leave this
// process is ErrUnavailable, one that may have is ErrUncertain, and whatever
// the node said itself is passed on with its facts.
//
// Callers may rely on this:
//
//   - Any of the nodes is enough to dial, and tells of the others. One of them is
//     home: calls and reads go there for as long as it answers, and then to
//     whichever of the others does first, in their order. A node that answers,
//     and can do nothing, is left, too.
//   - Batches, and what concerns producers, go straight to the node that writes
//     the log, once one has told which that is; until then, or where it can't be
//     reached, by way of home. An *api.ElsewhereError of a batch is for who
//     appended it to answer, with the identical batch; calls follow it
//     themselves, for at most 30 seconds.
//   - No batch overtakes an earlier one of its log: while some of them are
//     unanswered at one node, what belongs to another one waits. If one of those
//     comes back, so do the waiting ones.
//   - The batches for a node go on one stream, several logs' in one message, so
//     that many writers cost few messages. Every batch that was taken is answered
//     once, also if the connection breaks, or the client is closed.
//   - Where batches get no answer for 2 seconds, other nodes are asked whether
//     the log has another writer by now. If so, the stream is cut, and what it
//     leaves is uncertain.
//   - What was handed over and is not answered is bounded (64 MiB, 16,384
//     batches); beyond that, Append waits for as long as its ctx allows.
//   - A stream of reads goes on by itself behind a broken connection, at its
//     position. Nothing is given out that does not continue what was before.
//   - A connection that breaks is made again, with a growing pause of at most 2
//     seconds. A peer that says nothing is given up after 15 seconds.
//   - The cluster is that of the node that answered Dial. A node of another
//     cluster refuses every call, for ids mean nothing there; it is left alone
//     where there are others, and else the error is an *api.WrongClusterError.
//   - Close ends everything, with a defined outcome each, and waits for all
//     goroutines.
package client
