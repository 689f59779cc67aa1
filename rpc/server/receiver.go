package server

import (
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/wal/api"
)

// receiver is the side of an Append stream that batches come in on: it puts
// their parts together, has each one checked, and hands it to the service.
// While the service has no room, it receives nothing.
type receiver struct {
	a     *appending
	frame rpc.AppendFrame
	last  uint64    // number of the last batch that was begun
	batch *incoming // whose parts are coming; nil: none
	stall *time.Timer
}

// incoming is a batch that is being received.
type incoming struct {
	id     batchID
	ifTail fragment.LSN
	limits fragment.Limits
	bytes  int       // of the whole
	ready  int       // see api.AppendRequest
	have   int       // <= bytes
	data   []byte    // nil: it is refused, and its parts are passed over
	due    time.Time // when it must be here
	budget *semaphore.Weighted
}

func newReceiver(a *appending) *receiver {
	r := &receiver{a: a}
	r.stall = time.AfterFunc(time.Hour, func() {
		a.end(fmt.Errorf("%w: the next part of a batch did not come in time", api.ErrInvalid), true)
	})
	r.stall.Stop()
	return r
}

// close gives back what the receiver holds.
func (r *receiver) close() {
	r.stall.Stop()
	r.frame.Free()
	r.drop()
}

// drop forgets the batch that is being received.
func (r *receiver) drop() {
	if b := r.batch; b != nil && b.data != nil {
		r.release(b)
	}
	r.batch = nil
}

// run receives until the client has ended its side (io.EOF), or an error.
func (r *receiver) run() error {
	for {
		if b := r.batch; b != nil {
			r.stall.Reset(min(r.a.s.cfg.Limits.StallTimeout, time.Until(b.due)))
		}
		err := r.a.stream.RecvMsg(&r.frame)
		r.stall.Stop()
		if err == io.EOF && r.batch != nil {
			return malformed("the stream ends in the middle of batch %d", r.batch.id.request)
		}
		if err != nil {
			return err
		}
		if err := r.parts(); err != nil {
			return err
		}
		r.frame.Free()
	}
}

// parts takes the parts of a message.
func (r *receiver) parts() error {
	for {
		h, ok, err := r.frame.Next()
		if err != nil || !ok {
			return err
		}
		if err := r.part(h); err != nil {
			return err
		}
	}
}

func (r *receiver) part(h rpc.AppendHead) error {
	b := r.batch
	switch {
	case b == nil:
		if err := r.begin(h); err != nil {
			return err
		}
		b = r.batch
	case h.Request != 0 || h.Log != 0 || h.IfTail != 0 || h.BatchBytes != 0:
		return malformed("batch %d begins, but %d bytes of batch %d are missing", h.Request, b.bytes-b.have, b.id.request)
	}
	if h.DataBytes == 0 || h.DataBytes > b.bytes-b.have {
		return malformed("a part of %d bytes, where batch %d has %d left", h.DataBytes, b.id.request, b.bytes-b.have)
	}
	if b.data != nil {
		r.frame.Copy(b.data[b.have : b.have+h.DataBytes])
	} else if err := r.passOver(b, h.DataBytes); err != nil {
		return err
	}
	if b.have += h.DataBytes; b.have < b.bytes {
		return nil
	}
	if b.data != nil {
		r.complete(b)
	}
	r.drop()
	return nil
}

// begin begins a batch. One that is refused is answered now, and its parts are
// passed over. An error ends the stream.
func (r *receiver) begin(h rpc.AppendHead) error {
	switch {
	case h.Request <= r.last:
		return malformed("batch number %d after %d: they ascend, and only the first part of a batch has one", h.Request, r.last)
	case h.BatchBytes == 0:
		return malformed("batch %d has no length", h.Request)
	}
	b := &incoming{id: batchID{request: h.Request, log: h.Log}, ifTail: h.IfTail, bytes: h.BatchBytes, ready: h.ReadyBytes}
	r.last, r.batch = h.Request, b
	a := r.a
	select {
	case a.room <- struct{}{}:
	case <-a.ctx.Done():
		return a.ctx.Err()
	}
	if refused := r.admit(b); refused != nil {
		a.answer(b.id, api.Ack{}, refused, false)
	} else if err := r.reserve(b, h.DataBytes == h.BatchBytes); err != nil {
		return err
	}
	pieces := 1 + b.bytes/rpc.AppendFrameBytes
	b.due = time.Now().Add(time.Duration(pieces) * a.s.cfg.Limits.StallTimeout)
	return nil
}

// admit looks at what a batch says of itself.
func (r *receiver) admit(b *incoming) (err error) {
	if err := r.a.fly(0); err != nil {
		return err
	}
	if b.limits, err = r.a.s.cfg.Logs.Limits(b.id.log); err != nil {
		return err
	}
	if most := b.limits.BatchBytesMax(); b.bytes > most {
		return &api.LimitError{What: "batch bytes", Limit: uint64(most), Value: uint64(b.bytes)}
	}
	return nil
}

// A batch that no log could ever take is passed over at this pace, all of them
// together: no client of ours sends one, and others come first.
const passOverBytesPerSecond = 64 << 20

// passOver takes its time for n bytes of a refused batch, if it is one of those.
func (r *receiver) passOver(b *incoming, n int) error {
	if most := (fragment.Limits{EntryBytesMax: fragment.EntryBytesMax}); b.bytes <= most.BatchBytesMax() {
		return nil
	}
	s := r.a.s
	if err := s.passing.Acquire(r.a.ctx, 1); err != nil {
		return err
	}
	defer s.passing.Release(1)
	t := time.NewTimer(time.Duration(n) * time.Second / passOverBytesPerSecond)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-r.a.ctx.Done():
		return r.a.ctx.Err()
	}
}

// reserve waits for room to put the batch together. What comes in one piece is
// not kept waiting by what comes in many.
func (r *receiver) reserve(b *incoming, whole bool) error {
	s := r.a.s
	if b.budget = s.receiveParts; whole {
		b.budget = s.receiveWhole
	}
	if err := b.budget.Acquire(r.a.ctx, int64(b.bytes)); err != nil {
		return err
	}
	s.metrics.receiving.Add(float64(b.bytes))
	b.data = make([]byte, b.bytes)
	return nil
}

func (r *receiver) release(b *incoming) {
	b.budget.Release(int64(b.bytes))
	r.a.s.metrics.receiving.Sub(float64(b.bytes))
}

// complete checks a batch and hands it to the service.
func (r *receiver) complete(b *incoming) {
	a := r.a
	batch, err := fragment.OpenBatch(b.data, b.limits)
	if err != nil {
		a.answer(b.id, api.Ack{}, refusal(err), false)
		return
	}
	id := b.id
	id.producer, id.epoch, id.sequence = batch.Producer(), batch.ProducerEpoch(), batch.FirstSeq()
	if err := a.fly(1); err != nil {
		a.answer(id, api.Ack{}, err, false)
		return
	}
	a.logTaken(id, batch)
	err = a.s.cfg.Logs.Append(a.ctx, api.AppendRequest{Log: id.log, Batch: batch, IfTail: b.ifTail, ReadyBytes: b.ready}, func(ack api.Ack, err error) {
		a.answer(id, ack, err, true)
	})
	if err != nil {
		a.answer(id, api.Ack{}, err, true)
	}
}

// refusal puts what is wrong with the bytes of a batch into the words of
// wal/api.
func refusal(err error) error {
	if rpc.ToError(err).Reason != 0 {
		return err // a limit
	}
	return fmt.Errorf("%w: %w", api.ErrInvalid, err)
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: malformed stream: %s", api.ErrInvalid, fmt.Sprintf(format, args...))
}
