package api

import (
	"context"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// Level is how fresh an answer must be. The zero Level is a follower's read.
type Level struct {
	AtLeast      fragment.LSN  // wait until the durable tail is past this LSN (read your writes); 0: no
	Linearizable bool          // everything acknowledged before the call is seen
	MaxLag       time.Duration // *LagError if the answer may be older; 0: no bound
}

// From says which position of a log a read starts at.
type From int

// The positions. Value and Time belong to the ones that name them.
const (
	FromEarliest From = iota // the first LSN left
	FromTail                 // the durable tail
	FromLSN                  // Value
	FromLast                 // Value entries before the durable tail, or the first left
	FromTime                 // the first entry appended at Time or later
)

// ReadRequest opens a stream. It ends at the first of its ends that is
// reached; without Follow, also at the durable tail.
type ReadRequest struct {
	Log    fragment.LogID
	From   From
	Value  uint64
	Time   fragment.Micros
	To     fragment.LSN    // end before this LSN; 0: no
	Until  fragment.Micros // end before the first entry appended at this time or later; 0: no
	Limit  uint64          // end after so many entries; 0: no
	Follow bool            // at the tail, wait for more
	Level  Level
}

// Stream gives a log's batches in order. Not safe for concurrent use.
type Stream interface {
	// Next returns the batches that come next, at least one, unchanged as
	// they were appended; the first may begin before the stream's position,
	// and the last may end behind its end: the caller drops what lies
	// outside [Chunk.From, Chunk.To). The bytes are shared and must not be
	// changed; they may be kept. Errors: io.EOF at the end,
	// *DataLossError (the next call continues behind it), *TrimmedError,
	// ErrDeleted, ErrClosed, *LagError, ErrUnavailable (the next call tries
	// again), or the context's.
	Next(ctx context.Context) (Chunk, error)
	// Position is the LSN of the entry that comes next; right after opening,
	// where the request's position was found to be.
	Position() fragment.LSN
	// Close frees the stream; idempotent.
	Close() error
}

// Chunk is a run of batches of one log.
type Chunk struct {
	Batches  []fragment.Batch
	From, To fragment.LSN // what of them belongs to the answer
	Tail     fragment.LSN // the durable tail when the chunk was made
	// Age is how long ago, at most, Tail was all there was; the longest time
	// there is if that is not known.
	Age time.Duration
}
