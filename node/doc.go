// Package node is one wpd node: it opens every room in order, and closes them
// in reverse. A program that embeds wpd needs this package and package wpd:
//
//	n, err := node.Open(ctx, node.Config{Bucket: "file:///data/objects", DataDir: "/data/node"})
//	...
//	defer n.Close()
//	log, err := n.Client().Create(ctx, "orders", wpd.LogConfig{})
//
// With Config.Listen it serves the same logs, and itself, to others by gRPC
// (package rpc/server); with Config.HTTPListen, metrics, health and profiles to
// operators. Close drains: new work is refused, what was taken is answered,
// everything is flushed, the chain is sealed.
//
// With Config.Cluster, the node is one of several. Whatever is asked of it, it
// answers: what another node has to do, the writer of a log or the leader, it
// forwards there. Its Close hands over the logs that it writes and its part as
// the leader first, so that the others go on at once.
//
// It holds no algorithm of its own: what a log is, is in room wal; what is
// durable, in segment; who is who, in cluster.
package node
