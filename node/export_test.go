package node

// CloseListener takes the gRPC listener away from under its server.
func CloseListener(n *Node) error { return n.grpcListener.Close() }
