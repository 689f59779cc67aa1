package wpd

import (
	"context"
	"fmt"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// Pending is the future outcome of one AppendAsync. Safe for concurrent use.
type Pending struct {
	batch *batch
	index int // of the entry in its batch
}

// Done is closed once the outcome is known, that is, once Wait won't block.
// Entries that share a batch share the channel.
func (p *Pending) Done() <-chan struct{} { return p.batch.done }

// Wait returns the entry's LSN, once the entry is durable. Errors: those of
// Writer.Append; one that Is ErrUncertain and ctx.Err() if ctx ends first,
// after which Wait may be called again.
func (p *Pending) Wait(ctx context.Context) (LSN, error) { return p.batch.wait(ctx, p.index) }

// failed is the outcome of an append that never became part of a batch.
func failed(err error) *Pending {
	b := &batch{done: make(chan struct{}), err: err, settled: true}
	close(b.done)
	return &Pending{batch: b}
}

// batch is a batch from its first entry to its outcome. Writer.mu guards it;
// ack and err may be read without, once done is closed.
type batch struct {
	builder fragment.BatchBuilder // the entries, until the batch is sent first
	ifTail  LSN
	count   int  // entries
	room    int  // bytes it takes of the writer's room
	async   bool // it has entries of AppendAsync, whose errors Flush reports

	// Once it is numbered. A number is given once per producer epoch.
	meta    fragment.BatchMeta
	encoded fragment.Batch // as sent last; a retry sends the same bytes, unstamped
	renewed bool           // meta was changed: encode it anew

	sent    time.Time // when the last attempt began
	answer  error     // of the last attempt, if it was not acknowledged
	unknown bool      // an attempt may have stored it, or may still
	handed  bool      // the service had it
	held    bool      // refused, but only the raised epoch makes that final
	stored  bool      // the log says that it is stored; its LSNs are asked for
	settled bool

	done chan struct{} // closed when settled
	ack  api.Ack
	err  error
}

func (b *batch) lastSeq() uint64 { return b.meta.FirstSeq + uint64(b.count) - 1 }

// wait returns the LSN of entry i once the batch is settled.
func (b *batch) wait(ctx context.Context, i int) (LSN, error) {
	select {
	case <-b.done:
	default:
		select {
		case <-b.done:
		case <-ctx.Done():
			return 0, fmt.Errorf("append: %w: %w", ErrUncertain, ctx.Err())
		}
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.ack.From + LSN(i), nil
}

// encode makes the bytes of the next attempt: on the first one from the
// builder, later the same bytes again, or the same entries under a new
// number. The bytes of an earlier attempt belong to the service.
func (b *batch) encode(limits fragment.Limits) error {
	switch {
	case b.encoded.Len() == 0:
		b.encoded = b.builder.Finish(b.meta)
	case !b.renewed:
		b.encoded = b.encoded.Unstamped()
	default:
		entries, err := b.encoded.Entries()
		if err != nil {
			return err
		}
		builder := fragment.BatchBuilder{Limits: limits}
		for e, ok := entries.Next(); ok; e, ok = entries.Next() {
			if err := builder.Add(e.Headers, e.Data); err != nil {
				return err
			}
		}
		if err := entries.Err(); err != nil {
			return err
		}
		b.encoded = builder.Finish(b.meta)
	}
	b.renewed = false
	return nil
}
