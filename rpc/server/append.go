package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"

	"github.com/wpd-io/wpd/rpc"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// answersMax bounds the answers in one message: it stays below what a client
// takes even if all of them are errors.
const answersMax = 512

// appending is one Append stream. Its handler sends the answers; a goroutine
// receives the batches, see receiver.
type appending struct {
	s      *Server
	call   *call
	stream grpc.ServerStream
	ctx    context.Context // of the stream
	hints  *hints          // nil: the client follows none

	room chan struct{} // one for each batch that is taken and whose answer is not sent

	mu      sync.Mutex
	answers []answer // to be sent, in their order
	flying  int      // batches that the service has, and has not answered
	ended   bool     // no batch is taken any more
	err     error    // why; nil: the client has ended its side
	cut     bool     // and nothing is waited for
	wake    chan struct{}
}

// answer is what became of a batch.
type answer struct {
	batch batchID
	ack   api.Ack
	err   error
}

func newAppending(s *Server, stream grpc.ServerStream) *appending {
	a := &appending{
		s: s, call: callOf(stream.Context()), stream: stream, ctx: stream.Context(),
		room: make(chan struct{}, s.cfg.Limits.Batches),
		wake: make(chan struct{}, 1),
	}
	if s.cfg.Writer != nil && !rpc.Forwarded(a.ctx) {
		a.hints = &hints{s: s}
	}
	return a
}

// run sends answers until the stream has ended and all that was taken is
// answered. The receiver ends soon after it returns, with the stream.
func (a *appending) run() error {
	a.s.appends.Add(1)
	a.s.metrics.appends.Inc()
	defer func() {
		a.s.appends.Add(-1)
		a.s.metrics.appends.Dec()
	}()
	a.s.receivers.Go(a.receive)
	drained := a.s.drained.Done()
	for {
		answers, over, err := a.take()
		switch {
		case len(answers) > 0:
			if err := a.send(answers); err != nil {
				return err
			}
			continue
		case over:
			return err
		}
		select {
		case <-a.wake:
		case <-drained:
			drained = nil
			a.end(fmt.Errorf("this node is about to stop: %w", api.ErrClosed), false)
		case <-a.ctx.Done():
			return a.ctx.Err()
		}
	}
}

// take returns the answers that are sent next, or that the stream is over.
func (a *appending) take() (answers []answer, over bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cut {
		return nil, true, a.err
	}
	n := min(len(a.answers), answersMax)
	if answers, a.answers = a.answers[:n:n], a.answers[n:]; len(a.answers) == 0 {
		a.answers = nil
	}
	return answers, n == 0 && a.ended && a.flying == 0, a.err
}

func (a *appending) send(answers []answer) error {
	m := &logv1.AppendResponse{Results: make([]*logv1.AppendResult, len(answers))}
	for i, x := range answers {
		m.Results[i] = a.result(x)
		if h := a.hints.about(x); h != nil {
			m.Hints = append(m.Hints, h)
		}
	}
	if err := a.stream.SendMsg(m); err != nil {
		return err
	}
	for range answers {
		<-a.room
	}
	return nil
}

func (a *appending) result(x answer) *logv1.AppendResult {
	a.logAnswer(x)
	r := &logv1.AppendResult{Request: x.batch.request}
	if x.err == nil {
		r.FromLsn, r.ToLsn, r.TimeMicros = uint64(x.ack.From), uint64(x.ack.To), int64(x.ack.Time)
		return r
	}
	a.s.metrics.refusedBatches.Inc()
	if r.Error = rpc.ToError(x.err); r.Error.Reason == logv1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		r.Error.Reason = logv1.ErrorReason_ERROR_REASON_UNCERTAIN // it is none of ours, so nothing is sure
		if skipped, ok := a.s.logErrors.now(); ok {
			a.s.cfg.Logger.Error("append", append(x.batch.attrs(a.call), "err", x.err, "not_logged_since", skipped)...)
		}
	}
	return r
}

// end lets no more batches in. With cut, the stream ends at once; otherwise
// when all that was taken is answered. The first call counts.
func (a *appending) end(err error, cut bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ended {
		a.ended, a.err = true, err
	}
	if cut && !a.cut {
		a.cut, a.err = true, err
	}
	a.wakeLocked()
}

// fly says that n batches (0 or 1) are about to be handed to the service, or
// why they must not.
func (a *appending) fly(n int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return fmt.Errorf("the stream ends: %w", api.ErrClosed)
	}
	a.flying += n
	return nil
}

// answer takes the answer to a batch; flew says that the service had it. It
// does not block, and may be called when the stream is over.
func (a *appending) answer(b batchID, ack api.Ack, err error, flew bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if flew {
		a.flying--
	}
	a.answers = append(a.answers, answer{b, ack, err})
	a.wakeLocked()
}

func (a *appending) wakeLocked() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// receive takes batches until the client ends its side, or the stream ends.
func (a *appending) receive() {
	r := newReceiver(a)
	defer r.close()
	defer func() {
		if p := recover(); p != nil {
			a.end(a.s.panicked(p), true)
		}
	}()
	err := r.run()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	a.end(err, false)
}
