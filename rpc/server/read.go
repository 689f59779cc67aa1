package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// readStall is how long a reader may take for one message until it gives up
// what is held for it.
const readStall = time.Second

// reading is one Read stream. All it sends are copies, so that a reader that
// does not read pins nothing but those; and while it does not, what was
// fetched for it is given up, and fetched again when it is back.
type reading struct {
	s      *Server
	r      api.ReadRequest
	stream grpc.ServerStream
	ctx    context.Context // of the stream
	next   context.Context // of waiting for entries: ends with ctx, or when the server drains
	at     fragment.LSN    // of the entry that the next chunk begins with
	left   uint64          // entries until the limit; unlimited if r.Limit is 0

	stall *time.Timer

	mu      sync.Mutex // the timer takes away what follows while a message is sent
	sending bool
	src     api.Stream // nil: to be opened again
	rest    api.Chunk  // of src, not begun yet
	now     sent
}

func newReading(s *Server, r api.ReadRequest, stream grpc.ServerStream) *reading {
	x := &reading{s: s, r: r, stream: stream, ctx: stream.Context(), left: r.Limit}
	x.stall = time.AfterFunc(time.Hour, x.stalled)
	x.stall.Stop()
	return x
}

// run sends what was asked for.
func (x *reading) run() error {
	x.s.reads.Add(1)
	x.s.metrics.reads.Inc()
	next, cancel := context.WithCancelCause(x.ctx)
	x.next = next
	undrain := context.AfterFunc(x.s.drained, func() { cancel(fmt.Errorf("this node is about to stop: %w", api.ErrClosed)) })
	defer func() {
		undrain()
		cancel(nil)
		x.stall.Stop()
		x.mu.Lock()
		x.letGo()
		x.now.end()
		x.mu.Unlock()
		x.s.reads.Add(-1)
		x.s.metrics.reads.Dec()
	}()
	err := x.all()
	if err == io.EOF {
		return nil
	}
	if cause := context.Cause(next); errors.Is(cause, api.ErrClosed) {
		return cause
	}
	return err
}

// all sends until the end, which is io.EOF, or an error.
func (x *reading) all() error {
	src, err := x.s.cfg.Logs.Read(x.next, x.r)
	if err != nil {
		return err
	}
	x.src, x.at = src, src.Position()
	err = x.message(&logv1.ReadResponse{Kind: &logv1.ReadResponse_Start{Start: &logv1.ReadStart{Position: uint64(x.at)}}})
	for err == nil {
		err = x.chunk()
		if loss, ok := errors.AsType[*api.DataLossError](err); ok {
			x.at = loss.To
			err = x.message(&logv1.ReadResponse{Kind: &logv1.ReadResponse_Loss{Loss: rpc.ToError(err)}})
		}
	}
	return err
}

// chunk sends the chunk that comes next.
func (x *reading) chunk() error {
	if err := x.fetch(); err != nil {
		return err
	}
	x.mu.Lock()
	c := x.cut()
	x.mu.Unlock()
	if err := x.message(&logv1.ReadResponse{Kind: &logv1.ReadResponse_Chunk{Chunk: c}}); err != nil {
		return err
	}
	for {
		x.mu.Lock()
		if x.now.lost() {
			x.mu.Unlock()
			if err := x.fetchAgain(); err != nil {
				return err
			}
			continue
		}
		pieces := x.now.take(rpc.ReadFrameBytes)
		if len(pieces) == 0 {
			x.now.end()
			x.mu.Unlock()
			return nil
		}
		frame := rpc.NewReadData(pieces...)
		clear(pieces) // which must not hold what the timer gives up
		x.mu.Unlock()
		if err := x.send(frame); err != nil {
			return err
		}
	}
}

// fetch makes sure that there is a rest, opening the source again if it was
// given up.
func (x *reading) fetch() error {
	if err := context.Cause(x.next); err != nil {
		return err
	}
	if len(x.rest.Batches) > 0 {
		return nil
	}
	if x.src == nil {
		if x.r.Limit != 0 && x.left == 0 {
			return io.EOF
		}
		if err := x.open(x.at, x.left); err != nil {
			return err
		}
	}
	c, err := x.src.Next(x.next)
	x.rest = c
	return err
}

// open opens the source at an LSN, with so many entries left to the limit.
func (x *reading) open(at fragment.LSN, left uint64) error {
	r := x.r
	r.From, r.Value, r.Time, r.Level = api.FromLSN, uint64(at), 0, api.Level{}
	if r.Limit != 0 {
		r.Limit = left
	}
	src, err := x.s.cfg.Logs.Read(x.next, r)
	if err == nil {
		x.src = src
	}
	return err
}

// cut takes the next chunk from the rest, and returns its head.
func (x *reading) cut() *logv1.ReadChunk {
	c := x.rest
	n, bytes := 0, 0
	for _, b := range c.Batches {
		if n > 0 && (bytes+b.Len() > rpc.ReadChunkBytes || b.From() >= c.To) {
			break
		}
		n, bytes = n+1, bytes+b.Len()
	}
	to := min(c.To, c.Batches[n-1].To())
	x.now.begin(c.Batches[:n], c.From, to, bytes)
	x.at, x.left = to, x.left-uint64(to-c.From)
	if x.rest = (api.Chunk{}); to < c.To {
		x.rest = api.Chunk{Batches: c.Batches[n:], From: to, To: c.To, Tail: c.Tail, Age: c.Age}
	}
	return &logv1.ReadChunk{
		FromLsn: uint64(c.From), ToLsn: uint64(to), TailLsn: uint64(c.Tail), AgeMicros: uint64(max(c.Age, 0).Microseconds()), Bytes: uint32(bytes),
	}
}

// fetchAgain brings back the batches of the chunk that is being sent.
func (x *reading) fetchAgain() error {
	now := &x.now
	if err := x.open(now.from, x.left+uint64(now.to-now.from)); err != nil {
		return err
	}
	c, err := x.src.Next(x.next)
	x.mu.Lock()
	defer x.mu.Unlock()
	n, ok := 0, false
	if err == nil {
		n, ok = now.bringBack(c.Batches)
	}
	if _, lost := errors.AsType[*api.DataLossError](err); lost || err == io.EOF || err == nil && !ok {
		// Whoever reads on finds out.
		return fmt.Errorf("%w: LSNs [%d, %d) of log %d can't be read again: %v", api.ErrUnavailable, now.from, now.to, x.r.Log, err)
	}
	if err != nil {
		return err
	}
	if c.To > now.to {
		x.rest = api.Chunk{Batches: c.Batches[n:], From: now.to, To: c.To, Tail: c.Tail, Age: c.Age}
	}
	return nil
}

func (x *reading) message(m *logv1.ReadResponse) error { return x.send(&rpc.ReadFrame{Message: m}) }

// send sends one message. If that takes too long, stalled is called meanwhile.
func (x *reading) send(f *rpc.ReadFrame) error {
	x.setSending(true)
	x.stall.Reset(readStall)
	err := x.stream.SendMsg(f)
	x.stall.Stop()
	x.setSending(false)
	return err
}

func (x *reading) setSending(is bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sending = is
}

// stalled gives up what is held for a reader that does not read.
func (x *reading) stalled() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.sending {
		return
	}
	x.s.metrics.stalledReads.Inc()
	x.letGo()
	x.now.giveUp(x.s.slow)
}

// letGo gives up the source; mu is held, or nobody else is there.
func (x *reading) letGo() {
	if x.src != nil {
		_ = x.src.Close() // it only frees
	}
	x.src, x.rest = nil, api.Chunk{}
}
