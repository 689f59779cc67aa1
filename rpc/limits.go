package rpc

import "time"

// The metadata that a call may carry; see log.proto.
const (
	// MetadataCluster has the UUID of the cluster that the call is meant for.
	MetadataCluster = "wpd-cluster"
	// MetadataRequest has an id that the node's logs repeat.
	MetadataRequest = "wpd-request"
	// MetadataForwarded is "1" on a call that a node makes for a client of its
	// own: the node called does not pass it on.
	MetadataForwarded = "wpd-forwarded"
	// MetadataNode has the identity of the node that makes a call of
	// wpd.peer.v1.
	MetadataNode = "wpd-node"
	// RequestIDBytesMax bounds that id.
	RequestIDBytesMax = 64
)

// What both ends keep to.
const (
	// AppendFrameBytes is the most that a client puts into one message of an
	// Append stream. It is small, so that a thousand streams which stop in the
	// middle of a message hold little.
	AppendFrameBytes = 256 << 10
	// ReadFrameBytes is the most data that a node puts into one message of a
	// Read stream: what a reader that does not read pins in the node's memory.
	ReadFrameBytes = 64 << 10
	// ReadChunkBytes is what a chunk is meant to have at most; a single larger
	// batch is a chunk of its own.
	ReadChunkBytes = 1 << 20
	// ChunkBytesMax is more than any chunk can have: the size of an object.
	ChunkBytesMax = 16 << 20
	// MessageBytesMax is the most that either end takes in one message.
	MessageBytesMax = 1 << 20
	// PageMax is the most items in one answer of a listing.
	PageMax = 1000
	// FeedBytesMax is the most that one message of a node's feed has.
	FeedBytesMax = 1 << 20
	// MeasuredRemoval bounds the removal of what MeasureRaw has made, with which
	// the call ends.
	MeasuredRemoval = time.Minute
)

// What a server defends itself with, by default.
const (
	// ConnectionsMax bounds the connections of a server's clients.
	ConnectionsMax = 1024
	// PeerConnectionsMax bounds those of other nodes, which have room of their
	// own: a few of each node.
	PeerConnectionsMax = 256
	// StreamsMax bounds the calls at a time of one connection.
	StreamsMax = 256
	// HeaderBytesMax bounds the metadata of a call.
	HeaderBytesMax = 16 << 10
	// ReceiveBytesMax bounds the batches that a server has begun to receive and
	// not handed on.
	ReceiveBytesMax = 32 << 20
	// HandshakeTimeout bounds the time until a connection speaks HTTP/2.
	HandshakeTimeout = 5 * time.Second
	// StallTimeout bounds the time for which a batch may lie there half
	// received.
	StallTimeout = 10 * time.Second
	// IdleTimeout closes connections without calls.
	IdleTimeout = 15 * time.Minute
)

// How the ends find out that the other one is gone.
const (
	ClientPingEvery   = 10 * time.Second
	ClientPingTimeout = 5 * time.Second
	ServerPingEvery   = 30 * time.Second
	ServerPingTimeout = 15 * time.Second
	// PingEveryMin is what a server tolerates.
	PingEveryMin = 5 * time.Second
)
