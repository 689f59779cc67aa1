package wpd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// judge looks at a round of attempts that are all answered, not all of them
// with an acknowledgement, and decides what each batch left becomes.
func (w *Writer) judge(ctx context.Context) {
	w.mu.Lock()
	p := &w.pipeline
	p.trouble, p.next = false, 0
	var end error
	broken := false // a batch before was not acknowledged
	for _, b := range p.flight {
		if b.settled {
			continue
		}
		k := kindOf(b.answer)
		switch {
		case b.answer == nil, k == again, (k == gap || k == unknown) && broken:
			// What is behind a batch that will come again is judged then: a
			// chain may have ended between the two.
		case b.stored && !isOver(b.answer), k == forgotten:
			w.settleLocked(b, api.Ack{}, ErrStored)
			continue
		case k == unknown && p.name == "":
			p.gone, p.reopen = true, true
		case k == unknown, k == fatal:
			if end == nil {
				end = b.answer
			}
		case b.unknown && b.canTurn(): // refused
			b.held, p.reopen = true, true
		default:
			w.settleLocked(b, api.Ack{}, b.answer)
			p.reopen = true
		}
		broken = true
	}
	switch {
	case end != nil:
		w.endLocked(end, !isOver(end))
	case p.gone:
		w.forgetLocked()
	}
	p.compact()
	pause := time.Duration(0)
	if !p.reopen && len(p.flight) > 0 {
		pause = w.pauseLocked()
	}
	w.mu.Unlock()
	sleep(ctx, pause)
}

// isOver reports whether nobody is left to ask what became of a batch.
func isOver(err error) bool { return errors.Is(err, ErrNotFound) || errors.Is(err, ErrClosed) }

// forgetLocked settles what was in flight under a producer that the log has
// forgotten. A batch that is surely not stored goes on under the next one.
func (w *Writer) forgetLocked() {
	for _, b := range w.pipeline.flight {
		switch {
		case b.settled:
		case b.stored:
			w.settleLocked(b, api.Ack{}, ErrStored)
		case b.unknown:
			w.settleLocked(b, api.Ack{}, fmt.Errorf("append: %w: the log has forgotten the producer", ErrUncertain))
		}
	}
}

// reopen asks the log how far the producer got, under a raised epoch, so that
// what is not stored by then never will be under the old numbers; or opens a
// new producer, if the log has forgotten this one. Then the batches of the
// flight get their new numbers.
func (w *Writer) reopen(ctx context.Context) {
	w.mu.Lock()
	p := &w.pipeline
	r := api.OpenRequest{Log: w.log}
	if !p.gone {
		// One more and not any higher one: whoever has opened the producer
		// since then must not be fenced by this, its past.
		if p.tried == 0 {
			p.tried = p.epoch + 1
		}
		r.ID, r.Epoch = p.id, p.tried
	} else if w.exclusive {
		r.Generation = p.generation
	}
	w.mu.Unlock()
	opened, err := w.service.OpenProducer(ctx, r)
	w.mu.Lock()
	var pause time.Duration
	if err == nil {
		w.reopenedLocked(opened)
	} else {
		pause = w.notReopenedLocked(err)
	}
	w.mu.Unlock()
	sleep(ctx, pause)
}

func (w *Writer) notReopenedLocked(err error) (pause time.Duration) {
	p := &w.pipeline
	fenced, _ := errors.AsType[*FencedError](err)
	switch k := kindOf(err); {
	case k == again:
		return w.pauseLocked()
	case k == unknown && p.name == "" && !p.gone:
		p.gone = true
		w.forgetLocked()
		p.compact()
	case p.name == "" && fenced != nil && fenced.Want == uint64(p.tried):
		// The producer has no rival: this is an earlier call, whose answer
		// was lost. (A named one may have; then this writer is fenced.)
		p.tried++
	default:
		w.endLocked(err, fenced != nil)
	}
	return 0
}

func (w *Writer) reopenedLocked(o api.Opened) {
	p := &w.pipeline
	stored := o.Last
	if p.gone {
		stored = 0 // whatever the new producer has, is not of the old one
	}
	p.id, p.epoch, p.seq = o.ID, o.Epoch, o.Last+1
	p.reopen, p.gone, p.tried, p.next = false, false, 0, 0
	for _, b := range p.flight {
		switch {
		case b.settled:
		case b.lastSeq() <= stored:
			b.stored, b.held, b.answer = true, false, nil
		case b.held:
			w.settleLocked(b, api.Ack{}, b.answer)
		}
	}
	p.compact()
	for _, b := range p.flight {
		if !b.settled && !b.stored {
			p.renumber(b)
		}
	}
}

// endLocked is the end of the writer: nothing more is taken, and err is what
// becomes of every batch of which that is true. With ask, a batch that may be
// stored, and got no answer that says more, stays in flight: the log answers
// what is stored also to a writer that is fenced.
func (w *Writer) endLocked(err error, ask bool) {
	p, c := &w.pipeline, &w.batcher
	w.stopLocked(err)
	deleted := errors.Is(err, ErrDeleted)
	for i, b := range p.flight {
		open := b.answer == nil && i < p.next // an attempt is not answered
		switch {
		case b.settled:
		case deleted:
			w.settleLocked(b, api.Ack{}, err)
		case b.stored:
			w.settleLocked(b, api.Ack{}, ErrStored)
		case ask && b.unknown && (b.answer == nil || kindOf(b.answer) == again):
		case b.unknown, open:
			w.settleLocked(b, api.Ack{}, fmt.Errorf("append: %w: %v", ErrUncertain, err))
		case b.answer != nil && kindOf(b.answer) == refused:
			w.settleLocked(b, api.Ack{}, b.answer)
		default:
			w.settleLocked(b, api.Ack{}, err)
		}
	}
	p.compact()
	p.reopen = p.reopen && !ask
	c.cut()
	for b := c.take(true); b != nil; b = c.take(true) {
		w.settleLocked(b, api.Ack{}, err)
	}
}

// kind says what an answer that is no acknowledgement means.
type kind int

const (
	again     kind = iota // stored, or not, or not yet: the identical batch again
	gap                   // it does not follow what the log has of the producer
	refused               // it is not stored, for a reason of its own
	forgotten             // it is stored, but the log does not know where
	unknown               // the log does not know the producer
	fatal                 // nothing of this writer will be stored any more
)

// kindOf is the one table of answers. What is not in it leaves the outcome
// unknown.
func kindOf(err error) kind {
	switch {
	case errors.Is(err, ErrUncertain), errors.Is(err, api.ErrMoved), errors.Is(err, ErrUnavailable):
		return again
	case is[*FencedError](err), is[*WrongClusterError](err), errors.Is(err, ErrNotFound), errors.Is(err, ErrClosed):
		return fatal
	case errors.Is(err, ErrUnknownProducer):
		return unknown
	case errors.Is(err, ErrStored):
		return forgotten
	case is[*TailError](err), is[*LimitError](err), errors.Is(err, ErrInvalid),
		is[*fragment.LimitError](err), is[*fragment.VersionError](err):
		return refused
	}
	if s, ok := errors.AsType[*SequenceError](err); ok {
		if s.Conflict {
			return fatal
		}
		return gap
	}
	return again
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// canTurn reports whether a refusal could become an acknowledgement if an
// earlier attempt of the batch were still on its way.
func (b *batch) canTurn() bool {
	tail, ok := errors.AsType[*TailError](b.answer)
	return !ok || tail.Tail <= b.ifTail
}
