package wal

import (
	"context"

	"github.com/wpd-io/wpd/fragment"
)

// Peers is how this room asks other nodes for what they write. nil in a Config:
// this node is alone.
type Peers interface {
	// Follow opens the feed of a chain at the node that writes it, named by its
	// identity. Messages are what Service.Feed of that node sends, unchanged
	// and in order. The stream ends with an error when the chain is over, the
	// node is gone or ctx ends.
	Follow(ctx context.Context, node string, epoch fragment.Epoch) (FeedStream, error)
	// Tail asks the node that writes a log, named by its identity, for the
	// log's linearizable tail: Service.Tail there, with Level.Linearizable. It
	// must not go on to a third node: one that does not write the log (any
	// more) says so with an *api.ElsewhereError or ErrMoved.
	Tail(ctx context.Context, node string, log fragment.LogID) (fragment.LSN, error)
}

// FeedStream gives the messages of a feed.
type FeedStream interface {
	// Next returns the next message; the bytes are the caller's. Not safe for
	// concurrent use.
	Next() ([]byte, error)
	Close() error
}
