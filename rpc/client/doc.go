// Package client is the network transport of wpd: Dial returns the log service
// of a node, as wal/api describes it, over gRPC. Package wpd stands on it.
//
// It decides nothing about logs. What it answers for is that a broken
// connection never blurs an outcome: a call that surely did not leave this
// process is ErrUnavailable, one that may have is ErrUncertain, and whatever
// the node said itself is passed on with its facts.
//
// Callers may rely on this:
//
//   - All batches go on one stream, several logs' in one message, so that many
//     writers cost few messages. Every batch that was taken is answered once,
//     also if the connection breaks, or the client is closed.
//   - What was handed over and is not answered is bounded (64 MiB, 16,384
//     batches); beyond that, Append waits for as long as its ctx allows.
//   - A stream of reads goes on by itself behind a broken connection, at its
//     position. Nothing is given out that does not continue what was before.
//   - A connection that breaks is made again, with a growing pause of at most 2
//     seconds, to whichever of the addresses answers first in their order. A
//     peer that says nothing is given up after 15 seconds.
//   - The cluster is that of the node that answered Dial. A node of another
//     cluster refuses every call (*api.WrongClusterError), for ids mean nothing
//     there.
//   - Close ends everything, with a defined outcome each, and waits for all
//     goroutines.
package client
