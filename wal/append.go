package wal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

// answer is what the producer of a batch will be told, once what it rests on
// is durable.
type answer struct {
	done func(api.Ack, error)
	ack  api.Ack
	err  error
}

// Settled implements segment.Waiter.
func (a *answer) Settled(err error) {
	if err != nil {
		a.done(api.Ack{}, overError(err))
		return
	}
	a.done(a.ack, a.err)
}

// appendFunc is append, or a part of it.
type appendFunc func(ctx context.Context, r api.AppendRequest, done func(api.Ack, error)) error

// errWouldWait: a batch has to wait for something that is about its log alone.
var errWouldWait = errors.New("the log is not ready")

// AppendNow is Append, but for a batch that would have to wait for something that
// is about its log alone: for a hand-over, or until it is known who writes it.
// False: it is such a batch, nothing was done, and the error is nil. It waits for
// room, which all logs of the chain share.
func (s *Service) AppendNow(ctx context.Context, r api.AppendRequest, done func(api.Ack, error)) (bool, error) {
	err := s.counted(ctx, r, done, s.appendNow)
	if err == errWouldWait {
		return false, nil
	}
	return true, err
}

// appendNow is AppendNow, not counted. Errors: errWouldWait, and those of append.
func (s *Service) appendNow(ctx context.Context, r api.AppendRequest, done func(api.Ack, error)) error {
	if err := checkBatch(r.Batch); err != nil {
		return err
	}
	l, err := s.logHere(r.Log)
	if err != nil {
		return errWouldWait // append finds out
	}
	c := l.home()
	if c == nil || !c.alive() || l.isShut() {
		return errWouldWait
	}
	if err := c.writer.Reserve(ctx, r.Batch.Len()); err != nil {
		return errWouldWait
	}
	d, err := l.decide(c, r, done, false)
	if d != decidedTaken {
		c.writer.Unreserve(r.Batch.Len())
	}
	if d == decidedTaken || d == decidedAnswered {
		return err
	}
	return errWouldWait
}

// checkBatch refuses what no log could take.
func checkBatch(b fragment.Batch) error {
	if b.Len() == 0 || b.Producer() == 0 || b.ProducerEpoch() == 0 || b.FirstSeq() == 0 || b.LowestSeq() > b.FirstSeq() {
		return fmt.Errorf("%w: a batch without entries, producer, epoch or sequence", api.ErrInvalid)
	}
	return nil
}

// append is Append, not counted.
func (s *Service) append(ctx context.Context, r api.AppendRequest, done func(api.Ack, error)) error {
	if err := checkBatch(r.Batch); err != nil {
		return err
	}
	l, err := s.log(ctx, r.Log)
	if err != nil {
		return err
	}
	turn := l.visit()
	var sure *chain // surely wrote the log at some moment since the call
	for {
		c, err := s.attached(ctx, l, turn)
		if err != nil {
			return err
		}
		if err := c.writer.Reserve(ctx, r.Batch.Len()); err != nil {
			if !c.alive() && ctx.Err() == nil {
				continue
			}
			return fmt.Errorf("%w: no room, too much is not durable yet: %w", api.ErrUnavailable, err)
		}
		d, err := l.decide(c, r, done, c == sure)
		if d != decidedTaken {
			c.writer.Unreserve(r.Batch.Len())
		}
		switch d {
		case decidedTaken, decidedAnswered:
			return err
		case decidedOver:
			if err != nil {
				s.over(c, err) // and look for the next chain
			}
		case decidedUnsure:
			ok, err := s.confirmed(ctx, l, c)
			if err != nil {
				return err
			}
			if ok {
				sure = c
			}
		case decidedShut:
			if err := s.reopened(ctx, l); err != nil {
				return err
			}
		}
	}
}

// reopened waits until a log takes batches again.
func (s *Service) reopened(ctx context.Context, l *log) error {
	l.mu.Lock()
	shut := l.shut
	l.mu.Unlock()
	if shut == nil {
		return nil
	}
	select {
	case <-shut:
		return nil
	case <-s.failure:
		return fmt.Errorf("%w: %w", api.ErrUnavailable, s.Err())
	case <-s.ctx.Done():
		return api.ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("%w: the log is being handed over, or opened for an exclusive writer: %w", api.ErrUnavailable, ctx.Err())
	}
}

// decided says what became of a batch.
type decided int

const (
	decidedTaken    decided = iota // the chain has it, and its room
	decidedAnswered                // something else; it is told, or the error tells
	decidedOver                    // nothing: the chain is over, or not the log's
	decidedUnsure                  // nothing: it would be refused, or was stored, if this node still writes the log
	decidedShut                    // nothing: the log takes no batches for a while
)

// decide gives a batch its LSNs and hands it to the chain, or decides what
// else becomes of it. sure says that the chain was open, and the log on it, at
// some moment since the batch came.
func (l *log) decide(c *chain, r api.AppendRequest, done func(api.Ack, error), sure bool) (decided, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := r.Batch
	switch most := l.limits.BatchBytesMax(); {
	case l.deleted:
		return decidedAnswered, fmt.Errorf("log %d: %w", l.id, api.ErrDeleted)
	case l.shut != nil:
		return decidedShut, nil
	case l.chain != c:
		return decidedOver, nil
	case b.Len() > most && !sure:
		return decidedUnsure, nil
	case b.Len() > most:
		return decidedAnswered, &api.LimitError{What: "batch bytes", Limit: uint64(most), Value: uint64(b.Len())}
	}
	v, ack, refused := l.producers.judge(b)
	if v == verdictNew && b.Producer() > l.producers.highest(l.attachment) {
		v, refused = verdictNo, api.ErrUnknownProducer // it was never given out
	}
	if v == verdictNew {
		if refused = l.admit(r); refused == nil {
			refused = l.producers.room(b.Producer())
		}
		if refused != nil {
			v = verdictNo
		}
	}
	switch {
	case v != verdictNew && !sure:
		return decidedUnsure, nil
	case v != verdictNew:
		a := &answer{done: done, ack: ack, err: refused}
		now, err := c.writer.After(l.last, a)
		switch {
		case now:
			a.Settled(nil)
		case err != nil:
			return decidedOver, err
		}
		return decidedAnswered, nil
	}
	from, clock := l.assigned, time.Now()
	now := max(l.time, fragment.Micros(clock.UnixMicro()))
	b.Stamp(fragment.Stamp{Log: l.id, Attachment: l.attachment, Epoch: c.epoch, From: from, Time: now})
	n, err := c.writer.Append(l.id, b, r.ReadyBytes, &answer{done: done, ack: api.Ack{From: from, To: b.To(), Time: now}})
	if err != nil {
		b.Unstamp()
		return decidedOver, err
	}
	l.assigned, l.time, l.last = b.To(), now, n
	l.producers.remember(b)
	l.load.add(clock, b.Len())
	c.taken.Add(uint64(b.Len()))
	return decidedTaken, nil
}

// admit says why a batch that its producer may send is refused all the same.
func (l *log) admit(r api.AppendRequest) error {
	if g := r.Batch.Generation(); l.generation != 0 && g != l.generation {
		return &api.FencedError{What: "generation", Have: uint64(g), Want: uint64(l.generation)}
	}
	if r.IfTail != 0 && r.IfTail != l.assigned {
		return &api.TailError{Want: r.IfTail, Tail: l.assigned}
	}
	return nil
}
