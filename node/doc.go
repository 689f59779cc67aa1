// Package node is one wpd node: it opens every room in order, and closes them
// in reverse. A program that embeds wpd needs this package and package wpd:
//
//	n, err := node.Open(ctx, node.Config{Bucket: "file:///data/objects", DataDir: "/data/node"})
//	...
//	defer n.Close()
//	log, err := n.Client().Create(ctx, "orders", wpd.LogConfig{})
//
// It holds no algorithm of its own: what a log is, is in room wal; what is
// durable, in segment; who is who, in cluster.
package node
