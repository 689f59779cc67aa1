package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/wpd-io/wpd/rpc"
	adminv1 "github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/wal/api"
)

// measuredWait is how long a node may take to give up what it does and to remove
// what it made, and its last word to come here.
const measuredWait = rpc.MeasuredRemoval + 10*time.Second

// Measuring is measurements of what a node's bucket can do, one after the
// other. What they make there is removed in the end. Not safe for concurrent
// use.
type Measuring struct {
	pool   *pool
	conn   *conn
	cancel context.CancelFunc
	stream grpc.BidiStreamingClient[adminv1.MeasureRawRequest, adminv1.MeasureRawResponse]

	last   error // that the stream had; io.EOF: the node has ended it well
	ended  sync.Once
	late   *time.Timer // cuts the stream
	closed sync.Once
	err    error // of Close
}

// MeasureRaw begins measurements; ctx bounds the beginning only. Close must
// follow.
func (a *Admin) MeasureRaw(ctx context.Context) (*Measuring, error) {
	p := a.pool
	n, _, err := p.reach(ctx)
	if err != nil {
		return nil, err
	}
	m := &Measuring{pool: p}
	if m.conn, err = n.acquire(); err != nil {
		return nil, err
	}
	var life context.Context
	life, m.cancel = context.WithCancel(p.outgoing(p.ctx, newRequest()))
	stop := context.AfterFunc(ctx, m.cancel)
	m.stream, err = m.conn.admin.MeasureRaw(life)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		m.free()
		return nil, p.meaning(ctx, err, false)
	}
	return m, nil
}

// Measure measures once. After an error, only Close may be called. Errors:
// ErrForbidden, ErrInvalid, *LimitError, *BusyError (the node works for somebody
// else); ctx's, once the node has given up what it does and removed what it made.
func (m *Measuring) Measure(ctx context.Context, r *adminv1.MeasureRawRequest) (answer *adminv1.MeasureRawResponse, err error) {
	if err = m.stream.Send(r); err == nil || errors.Is(err, io.EOF) {
		stop := context.AfterFunc(ctx, m.end)
		answer, err = m.stream.Recv() // which knows why
		stop()
	}
	if err == nil {
		return answer, nil
	}
	m.last = err
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, io.EOF):
		return nil, nonsense("it ends a measurement without an answer")
	}
	return nil, m.pool.meaning(ctx, err, false)
}

// end tells the node that there is no more to measure.
func (m *Measuring) end() {
	m.ended.Do(func() {
		_ = m.stream.CloseSend() // it never fails
		m.late = time.AfterFunc(measuredWait, m.cancel)
	})
}

// Close waits until the node has removed what it made. An error says that this
// is not known. Idempotent.
func (m *Measuring) Close() error {
	m.closed.Do(func() { m.err = m.close() })
	return m.err
}

func (m *Measuring) close() error {
	m.end()
	for m.last == nil {
		_, m.last = m.stream.Recv()
	}
	m.late.Stop()
	m.free()
	if errors.Is(m.last, io.EOF) || len(status.Convert(m.last).Details()) > 0 {
		return nil // its last word comes behind all that
	}
	return fmt.Errorf("%w: what was made to measure the bucket may not be removed yet: %w", api.ErrUncertain, m.pool.meaning(m.pool.ctx, m.last, false))
}

func (m *Measuring) free() {
	m.cancel()
	m.conn.release()
}
