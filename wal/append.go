package wal

import (
	"context"
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

// append is Append, not counted.
func (s *Service) append(ctx context.Context, r api.AppendRequest, done func(api.Ack, error)) error {
	if b := r.Batch; b.Len() == 0 || b.Producer() == 0 || b.ProducerEpoch() == 0 || b.FirstSeq() == 0 || b.LowestSeq() > b.FirstSeq() {
		return fmt.Errorf("%w: a batch without entries, producer, epoch or sequence", api.ErrInvalid)
	}
	l, err := s.log(r.Log)
	if err != nil {
		return err
	}
	for {
		c, err := s.attached(ctx, l)
		if err != nil {
			return err
		}
		if err := c.writer.Reserve(ctx, r.Batch.Len()); err != nil {
			return fmt.Errorf("%w: no room, too much is not durable yet: %w", api.ErrUnavailable, err)
		}
		taken, wait, err := l.decide(c, r, done)
		if !taken {
			c.writer.Unreserve(r.Batch.Len())
		}
		if wait == nil {
			return err
		}
		if err != nil {
			s.over(c, err) // and look for the next chain
		}
		select {
		case <-wait:
		case <-s.failure:
			return fmt.Errorf("%w: %w", api.ErrUnavailable, s.Err())
		case <-s.ctx.Done():
			return api.ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("%w: an exclusive writer is being opened: %w", api.ErrUnavailable, ctx.Err())
		}
	}
}

// over is what decide returns to wait for when the log is to be attached
// anew: nothing.
var over = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// decide gives a batch its LSNs and hands it to the chain, or decides what
// else becomes of it. taken says that the chain has the batch and its room. A
// channel says that nothing was decided, and what to wait for first; with an
// error, that the chain is over.
func (l *log) decide(c *chain, r api.AppendRequest, done func(api.Ack, error)) (taken bool, wait <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := r.Batch
	switch most := l.limits.BatchBytesMax(); {
	case l.deleted:
		return false, nil, fmt.Errorf("log %d: %w", l.id, api.ErrDeleted)
	case l.shut != nil:
		return false, l.shut, nil
	case l.chain != c:
		return false, over, nil
	case b.Len() > most:
		return false, nil, &api.LimitError{What: "batch bytes", Limit: uint64(most), Value: uint64(b.Len())}
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
	if v != verdictNew {
		a := &answer{done: done, ack: ack, err: refused}
		now, err := c.writer.After(l.last, a)
		switch {
		case now:
			a.Settled(nil)
		case err != nil:
			return false, over, err
		}
		return false, nil, nil
	}
	from := l.assigned
	now := max(l.time, fragment.Micros(time.Now().UnixMicro()))
	b.Stamp(fragment.Stamp{Log: l.id, Attachment: l.attachment, Epoch: c.epoch, From: from, Time: now})
	n, err := c.writer.Append(l.id, b, &answer{done: done, ack: api.Ack{From: from, To: b.To(), Time: now}})
	if err != nil {
		b.Unstamp()
		return false, over, err
	}
	l.assigned, l.time, l.last = b.To(), now, n
	l.producers.remember(b)
	return true, nil, nil
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
