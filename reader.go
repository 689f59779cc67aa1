package wpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// Reader reads the entries of a log in order, without a gap. Not safe for
// concurrent use.
//
// Batches are checked against their checksums once more when they are opened,
// so that bytes that were damaged on the way, or in memory, are not given out
// as entries.
type Reader struct {
	log    LogID
	stream api.Stream

	pos  LSN // of the entry that comes next
	tail LSN // as of the last answer
	age  time.Duration
	left uint64 // entries until the limit, not counting those of the open batch
	all  bool   // there is no limit
	done error  // what every further call returns

	chunk api.Chunk // of it, the batches that were not opened yet

	// The open batch: entries stands at pos as long as pos < end.
	entries fragment.Entries
	end     LSN
	time    time.Time

	batch []Entry // what NextBatch returns
}

func openReader(ctx context.Context, l *Log, p Position, o readOptions) (*Reader, error) {
	r := o.request
	r.Log, r.From, r.Value = l.id, p.from, p.value
	switch p.from {
	case api.FromLSN:
		if p.value == 0 {
			return nil, fmt.Errorf("%w: From(0); LSNs start at 1", ErrInvalid)
		}
	case api.FromTime:
		r.Time = microsOf(p.time)
	}
	stream, err := l.client.service.Read(ctx, r)
	if err != nil {
		return nil, err
	}
	return &Reader{log: l.id, stream: stream, pos: stream.Position(), left: r.Limit, all: r.Limit == 0}, nil
}

// Next returns the next entry. It waits only for what is not fetched yet and,
// with Follow, for what is not durable yet. Errors: io.EOF at the end (To,
// Until, Limit, or the durable tail without Follow); *DataLossError, after
// which the next call goes on behind what is lost; *TrimmedError (the log was
// trimmed past the reader); ErrDeleted; ErrClosed; ErrUnavailable and
// ctx.Err(), after which the call may be repeated.
func (r *Reader) Next(ctx context.Context) (Entry, error) {
	for r.pos >= r.end {
		if err := r.advance(ctx); err != nil {
			return Entry{}, err
		}
	}
	return r.entry()
}

// NextBatch returns the entries that come next, at least one and at most
// 1,000. The slice is used again by the next call; the entries in it may be
// kept. Errors: those of Next.
func (r *Reader) NextBatch(ctx context.Context) ([]Entry, error) {
	for r.pos >= r.end {
		if err := r.advance(ctx); err != nil {
			return nil, err
		}
	}
	r.batch = r.batch[:0]
	for r.pos < r.end {
		e, err := r.entry()
		if err != nil {
			if len(r.batch) == 0 {
				return nil, err
			}
			break // damaged: the next call comes upon it again
		}
		r.batch = append(r.batch, e)
	}
	return r.batch, nil
}

// Position is the LSN of the entry that comes next: resume at From of it.
func (r *Reader) Position() LSN { return r.pos }

// Tail tells what the reader's last answer was based on: the durable tail
// then known, and how old that knowledge may have been. 0 before there was an
// answer.
func (r *Reader) Tail() (LSN, time.Duration) { return r.tail, r.age }

// Close frees the reader; later calls return ErrClosed. Idempotent.
func (r *Reader) Close() error {
	if errors.Is(r.done, ErrClosed) {
		return nil
	}
	r.done, r.end, r.chunk = ErrClosed, 0, api.Chunk{}
	return r.stream.Close()
}

// entry returns the entry at pos, which is in the open batch.
func (r *Reader) entry() (Entry, error) {
	e, ok := r.entries.Next()
	if !ok {
		return Entry{}, r.lost(r.end, r.entries.Err())
	}
	lsn := r.pos
	r.pos++
	return Entry{LSN: lsn, Time: r.time, Headers: e.Headers, Data: e.Data}, nil
}

// advance opens the batch that has the entry at pos.
func (r *Reader) advance(ctx context.Context) error {
	if r.done != nil {
		return r.done
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !r.all && r.left == 0 {
		r.done = io.EOF
		return r.done
	}
	switch {
	case r.pos >= r.chunk.To:
		return r.fetch(ctx)
	case len(r.chunk.Batches) == 0:
		return r.lost(r.chunk.To, errMissing)
	}
	b := r.chunk.Batches[0]
	if b.From() > r.pos {
		return r.lost(min(b.From(), r.chunk.To), errMissing)
	}
	r.chunk.Batches = r.chunk.Batches[1:]
	end := min(b.To(), r.chunk.To)
	if end <= r.pos {
		return nil
	}
	return r.open(b, end)
}

var errMissing = errors.New("the answer left it out")

// fetch asks for the next chunk.
func (r *Reader) fetch(ctx context.Context) error {
	c, err := r.stream.Next(ctx)
	switch {
	case err == nil:
		r.chunk, r.tail, r.age = c, c.Tail, c.Age
		if c.From > r.pos {
			return r.lost(c.From, errMissing)
		}
	case errors.Is(err, io.EOF):
		r.done = io.EOF
		return r.done
	case is[*DataLossError](err):
		r.pos = max(r.pos, r.stream.Position())
	}
	return err
}

// open opens a batch at pos, to be read up to end.
func (r *Reader) open(b fragment.Batch, end LSN) error {
	err := b.Verify(r.log)
	if err == nil {
		r.entries, err = b.Entries()
	}
	for skip := b.From(); err == nil && skip < r.pos; skip++ {
		if _, ok := r.entries.Next(); !ok {
			err = r.entries.Err()
		}
	}
	if err != nil {
		return r.lost(end, err)
	}
	if !r.all {
		end = min(end, r.pos+LSN(min(r.left, uint64(end-r.pos))))
		r.left -= uint64(end - r.pos)
	}
	r.end, r.time = end, timeOf(b.Time())
	return nil
}

// lost passes over what can't be read up to an LSN, and says so.
func (r *Reader) lost(to LSN, err error) error {
	from := r.pos
	if !r.all && to == r.end {
		r.left += uint64(to - from) // the limit counts what was returned
	}
	r.pos, r.end = to, 0
	return &DataLossError{Log: r.log, From: from, To: to, Err: err}
}

// each yields what Next returns, as Log.Read describes.
func (r *Reader) each(ctx context.Context, yield func(Entry, error) bool) {
	for {
		e, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return
		}
		if !yield(e, err) || err != nil && !is[*DataLossError](err) {
			return
		}
	}
}
