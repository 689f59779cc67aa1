package main

import (
	"context"
	"time"

	"github.com/wpd-io/wpd"
)

// benchPlace is where a benchmark runs: on a node in this process, or on a
// server. It is used by one goroutine.
type benchPlace interface {
	// client is that of the node or server; after reopen it is another one.
	client() *wpd.Client
	// reopen begins anew, with as little in memory as can be: a node is
	// closed and opened again, a server is dialed again.
	reopen(ctx context.Context) error
	// usage is what the node or server has used so far. The peak of memory
	// counts from the last call of resetPeak, if that can be.
	usage(ctx context.Context) (nodeUsage, error)
	resetPeak()
	// shared says that the node's processor time is also this program's.
	shared() bool
	// rawCreates measures what the store can do: large objects of about so
	// many bytes, then small ones for a while.
	rawCreates(ctx context.Context, bytes int64, smallFor time.Duration) (*rawPart, error)
	// rawReads reads what chains have written, then makes small objects.
	rawReads(ctx context.Context, smallFor time.Duration) (*rawPart, error)
	// discard removes logs of this run, where they would stay.
	discard(ctx context.Context, logs []*wpd.Log) error
	// close removes what the raw limit left, also after an interrupt.
	close(ctx context.Context) error
}

// nodeUsage is what a node has used since it started.
type nodeUsage struct {
	cpu     time.Duration
	creates uint64 // objects of chains
	rss     int64  // bytes, the peak
}
