package wpd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// The pause before a round of retries: doubled each time, up to a limit that
// keeps a returning service from being noticed late, each a random half to
// all of it.
const (
	retryPause    = 2 * time.Millisecond
	retryPauseMax = time.Second
)

// step is what run does next.
type step int

const (
	stepWait step = iota
	stepSend
	stepJudge
	stepReopen
	stepEnd
)

// run sends the writer's batches: the only goroutine that calls the service
// for them, and that decides what becomes of a batch without an
// acknowledgement. It ends when the writer is closed and everything settled,
// when nothing more can be stored, or when ctx ends.
func (w *Writer) run(ctx context.Context) {
	defer close(w.ended)
	defer w.cancel()
	for ctx.Err() == nil {
		switch b, next := w.nextStep(); next {
		case stepSend:
			w.send(ctx, b)
		case stepJudge:
			w.judge(ctx)
		case stepReopen:
			w.reopen(ctx)
		case stepEnd:
			return
		case stepWait:
			select {
			case <-w.wake:
			case <-w.timer.C:
				w.mu.Lock()
				w.batcher.due = w.batcher.open != nil
				w.mu.Unlock()
			case <-ctx.Done():
			}
		}
	}
	w.mu.Lock()
	w.endLocked(ErrClosed, false)
	w.mu.Unlock()
}

func (w *Writer) nextStep() (*batch, step) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, c := &w.pipeline, &w.batcher
	switch {
	case w.err != nil && len(p.flight) == 0 && c.empty():
		return nil, stepEnd
	case p.trouble && p.outstanding > 0:
		return nil, stepWait
	case p.trouble:
		return nil, stepJudge
	case p.reopen && (len(p.flight) > 0 || !c.empty()):
		return nil, stepReopen
	}
	b := p.unsent()
	if b == nil && !p.full() {
		if b = c.take(len(p.flight) == 0); b != nil {
			p.number(b)
			p.next = len(p.flight)
		}
	}
	if b == nil {
		return nil, stepWait
	}
	b.answer, b.sent = nil, time.Now()
	p.outstanding++
	return b, stepSend
}

// send makes one attempt. Between nextStep and the answer, b.encoded is run's.
func (w *Writer) send(ctx context.Context, b *batch) {
	err := b.encode(w.limits)
	if err != nil {
		w.answered(b, api.Ack{}, fmt.Errorf("%w: a batch can't be read back: %w", ErrInvalid, err), false)
		return
	}
	r := api.AppendRequest{Log: w.log, Batch: b.encoded, IfTail: b.ifTail, ReadyBytes: w.hand(b)}
	err = w.service.Append(ctx, r, func(ack api.Ack, err error) { w.answered(b, ack, err, true) })
	if err != nil {
		w.answered(b, api.Ack{}, err, false)
	}
}

// hand counts a batch as handed over, and says how much, of all writers, can be
// handed over from it on.
func (w *Writer) hand(b *batch) (readyBytes int) {
	c := w.client
	if !b.handed {
		b.handed = true
		c.handed.Add(int64(b.room))
	}
	return max(0, c.room.taken()-int(c.handed.Load())) + b.room
}

// answered takes the answer to an attempt; taken says whether the service had
// taken it over. Called by the service, so it must not block.
func (w *Writer) answered(b *batch, ack api.Ack, err error, taken bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := &w.pipeline
	p.outstanding--
	switch {
	case b.settled: // given up
	case err == nil:
		p.retries = 0
		w.latency += (time.Since(b.sent) - w.latency) / 8
		w.settleLocked(b, ack, nil)
		p.compact()
	default:
		b.answer = err
		if taken && kindOf(err) == again && !nothingDone(err) {
			b.unknown = true
		}
		p.trouble = true
	}
	if p.trouble && p.outstanding == 0 || !p.trouble && (len(p.flight) == 0 || w.batcher.ready()) {
		w.signal()
	}
}

// nothingDone reports whether an attempt that may be repeated was not even
// begun.
func nothingDone(err error) bool {
	return errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrUncertain) && !errors.Is(err, api.ErrMoved)
}

// settleLocked ends a batch with its outcome. The caller compacts the flight.
func (w *Writer) settleLocked(b *batch, ack api.Ack, err error) {
	b.ack, b.err, b.settled = ack, limitError(err), true
	b.encoded, b.builder, b.answer = fragment.Batch{}, fragment.BatchBuilder{}, nil
	if err != nil && b.async && w.failure == nil && !errors.Is(err, ErrStored) {
		w.failure = b.err
	}
	if b.handed {
		w.client.handed.Add(-int64(b.room))
	}
	w.release(b.room)
	close(b.done)
}

func (w *Writer) pauseLocked() time.Duration {
	pause := min(retryPause<<min(w.pipeline.retries, 20), retryPauseMax)
	w.pipeline.retries++
	return pause/2 + rand.N(pause/2)
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
