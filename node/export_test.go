package node

import "github.com/wpd-io/wpd/rpc/server"

// CloseListener takes the gRPC listener away from under its server.
func CloseListener(n *Node) error { return n.grpcListener.Close() }

// SetMeasured says how many objects measurements have made.
func SetMeasured(m server.Measuring, objects uint64) { m.(*measuring).objects = objects }
