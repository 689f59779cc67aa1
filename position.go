package wpd

import (
	"time"

	"github.com/wpd-io/wpd/wal/api"
)

// Position says where a read starts. The zero Position is Earliest.
type Position struct {
	from  api.From
	value uint64
	time  time.Time
}

// The positions that need no more words.
var (
	Earliest = Position{}                   // the first entry left
	Tail     = Position{from: api.FromTail} // the durable tail: what is appended from now on
)

// From starts at an LSN; 0 is ErrInvalid.
func From(lsn LSN) Position { return Position{from: api.FromLSN, value: uint64(lsn)} }

// Last starts n entries before the durable tail, or at the first entry left.
func Last(n uint64) Position { return Position{from: api.FromLast, value: n} }

// At starts at the first entry that was appended at t or later.
func At(t time.Time) Position { return Position{from: api.FromTime, time: t} }
