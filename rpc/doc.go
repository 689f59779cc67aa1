// Package rpc is what both ends of wpd's network agree on: the protobuf
// services (proto, generated into wpdpb), the one table between the errors of
// wal/api and those of gRPC, the limits, and the codec that moves batches
// without copying them.
//
// A server is in rpc/server, a client in rpc/client, and what nodes ask each
// other in rpc/peer. None of them decides anything: what a call means is in
// wal/api. Programs in other languages need nothing of this package but the
// proto files and docs/format.md.
package rpc

//go:generate sh -c "cd proto && buf generate"
