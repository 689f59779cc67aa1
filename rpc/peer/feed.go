package peer

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"

	peerv1 "github.com/wpd-io/wpd/rpc/wpdpb/peerv1"
)

// Feed gives the messages of a chain's feed. Next is not safe for concurrent
// use; Close may be called at any time.
type Feed struct {
	c      *Client
	addr   string
	conn   *conn
	ctx    context.Context
	cancel context.CancelFunc
	in     grpc.ServerStreamingClient[peerv1.FollowResponse]
	end    sync.Once
}

// Follow opens the feed of a chain at the node that writes it. It lasts until
// the node ends it, ctx ends, or Close; Close must follow. Whether the node has
// the chain, the first Next tells.
func (c *Client) Follow(ctx context.Context, addr string, q *peerv1.FollowRequest) (*Feed, error) {
	x, _, err := c.acquire(addr, true)
	if err != nil {
		return nil, &BrokenError{Addr: addr, Err: err}
	}
	f := &Feed{c: c, addr: addr, conn: x}
	f.ctx, f.cancel = context.WithCancel(ctx)
	out, err := c.outgoing(f.ctx)
	if err == nil {
		f.in, err = x.rpc.Follow(out, q)
	}
	if err != nil {
		err = f.meaning(err)
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// Next returns the next message; the bytes are the caller's. io.EOF: the chain
// is over. Errors: *Error, those of wal/api, *BrokenError.
func (f *Feed) Next() ([]byte, error) {
	m, err := f.in.Recv()
	if err != nil {
		err = f.meaning(err)
		_ = f.Close()
		return nil, err
	}
	return m.GetMessage(), nil
}

func (f *Feed) meaning(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if said := fromStatus(err); said != nil {
		return said
	}
	return f.c.broken(f.ctx, f.addr, true, err)
}

// Close ends the feed. Idempotent.
func (f *Feed) Close() error {
	f.end.Do(func() {
		f.cancel()
		f.c.release(f.conn, false)
	})
	return nil
}
