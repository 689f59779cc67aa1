// Package server serves the logs of a node, and the node itself to whoever
// runs it, over gRPC: wpd.log.v1 on top of wal/api, wpd.admin.v1 on top of the
// interfaces Admin and Cluster, and gRPC's health service.
//
//	s, err := server.New(server.Config{Logs: logs, Admin: admin, ClusterID: id})
//	...
//	go s.Serve(listener)
//	...
//	s.Drain()
//	err = s.Close(ctx)
//
// It decides nothing about logs. What it does decide is how much of the node a
// client may take: connections, calls, bytes half received, bytes that a slow
// reader keeps in memory (Limits). Every error leaves through package rpc's
// table; of a panic or of an error that is none of ours a client sees that
// there was one, and the log has the rest.
//
// Other nodes call services of their own (Config.Register), and are kept apart
// from clients: their connections begin with rpc.PeerPreamble, and they and
// their calls have room that no client can take. A server that has enough of
// clients waits for a second whether a new connection begins so; if there are
// too many of those, the one that has been silent for longest goes.
//
// Callers may rely on this. A batch is checked once, before it is handed on,
// and what is refused touches nothing else on its stream. Answers leave in the
// order in which the service gave them. A reader that stops reading keeps two
// frames of 64 KiB, and for a second what it was about to be sent. No client
// keeps another one from being served: each connection has a few calls of its
// own whatever the others do.
//
// Two limits of gRPC answer for themselves, without our reason in the details:
// a message over rpc.MessageBytesMax (ResourceExhausted), and a call whose
// request does not come within StallTimeout (Canceled).
package server
