// Package peer is how the nodes of a cluster ask each other: wpd.peer.v1 over
// gRPC, on the listener that clients use too.
//
//	c := peer.New(peer.Config{})
//	c.Introduce(clusterID, identity)
//	r, err := c.Renew(ctx, addr, &peerv1.RenewRequest{...})
//
//	s, err := server.New(server.Config{Register: peer.Register(clusterID, handlers), ...})
//
// It decides nothing, and knows neither raft nor logs: what a call means is for
// Handlers. What it answers for is who is spoken to, and what became of a call.
//
// Callers may rely on this:
//
//   - Every call carries the cluster's UUID and the caller's identity. A node of
//     another cluster refuses it (*api.WrongClusterError), and does nothing.
//   - An error that the other node gave is an *Error or one of wal/api, with its
//     facts. Any other is a *BrokenError, which says whether the call may have
//     been done.
//   - Connections begin with rpc.PeerPreamble, so that neither the connections
//     nor the calls of clients, however many, keep out those of nodes.
//   - A node has one connection for calls, kept while it is of use, and others
//     for feeds, so that a renewal never waits behind a feed's megabytes. Of the
//     calls that a connection carries, some are kept free for renewals.
//   - A connection on which a call got no answer in its time, nor any other call
//     since, carries no new calls: the next one tries another connection.
//   - Every call ends when its ctx does, and after CallTimeout if that has no
//     end of its own.
package peer
