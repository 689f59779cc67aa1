package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"google.golang.org/grpc"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// feed is one gRPC stream of a reader. A goroutine receives, checks that what
// comes is what was asked for, and is at most two chunks ahead of the reader:
// one is ready, one on its way.
type feed struct {
	node   *node
	conn   *conn
	cancel context.CancelFunc
	in     grpc.ServerStreamingClient[logv1.ReadResponse]
	frame  rpc.ReadFrame

	r     api.ReadRequest // Limit is what is left of it
	start fragment.LSN
	next  fragment.LSN // what must come next

	items chan item       // closed at the end
	done  <-chan struct{} // nobody takes items any more
}

// item is a chunk, or an error: what is lost, or, as the last item, why there
// are no more.
type item struct {
	chunk api.Chunk
	err   error
	last  bool
}

// openFeed opens a feed at a node, as long as ctx allows.
func openFeed(ctx context.Context, n *node, r api.ReadRequest) (*feed, error) {
	c, err := n.acquire()
	if err != nil {
		return nil, err
	}
	p := n.pool
	life, cancel := context.WithCancel(p.outgoing(p.ctx, newRequest()))
	f := &feed{node: n, conn: c, cancel: cancel, r: r, items: make(chan item, 1), done: life.Done()}
	stop := context.AfterFunc(ctx, cancel)
	err = f.open(life)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	n.judge(ctx, true, err)
	if err = p.foreign(n, p.meaning(ctx, err, false)); err == nil {
		err = p.start(f.run)
	}
	if err != nil {
		f.end()
		return nil, err
	}
	return f, nil
}

// open sends the request, and learns where the feed starts.
func (f *feed) open(ctx context.Context) (err error) {
	if f.in, err = f.conn.log.Read(ctx, rpc.ReadTo(f.r)); err != nil {
		return err
	}
	if err := f.in.RecvMsg(&f.frame); err != nil {
		if errors.Is(err, io.EOF) {
			err = nonsense("a read ends before it starts")
		}
		return err
	}
	start, ok := f.frame.Message.GetKind().(*logv1.ReadResponse_Start)
	if !ok {
		return nonsense("a read does not begin with its start")
	}
	f.start = fragment.LSN(start.Start.GetPosition())
	f.next = f.start
	if want := f.r.Value; f.start == 0 || f.r.From == api.FromLSN && uint64(f.start) != want {
		return nonsense("a read starts at LSN %d", f.start)
	}
	return nil
}

// run receives until the stream ends, or nobody wants more.
func (f *feed) run() {
	defer close(f.items)
	defer f.end()
	for {
		x := f.receive()
		select {
		case f.items <- x:
		case <-f.done:
		}
		if x.last {
			return
		}
	}
}

// end frees what the feed holds.
func (f *feed) end() {
	f.cancel()
	f.frame.Free()
	f.conn.release()
}

// receive receives the next item.
func (f *feed) receive() item {
	if err := f.in.RecvMsg(&f.frame); err != nil {
		return item{err: err, last: true}
	}
	switch kind := f.frame.Message.GetKind().(type) {
	case *logv1.ReadResponse_Chunk:
		c, err := f.chunk(kind.Chunk)
		return item{c, err, err != nil}
	case *logv1.ReadResponse_Loss:
		loss, ok := errors.AsType[*api.DataLossError](rpc.FromError(kind.Loss))
		if !ok || loss.Log != f.r.Log || loss.From != f.next || loss.To <= loss.From {
			return item{err: nonsense("a loss that is none at LSN %d: %v", f.next, loss), last: true}
		}
		f.next = loss.To
		return item{err: loss}
	}
	return item{err: nonsense("bytes that belong to no chunk"), last: true}
}

// chunk receives the batches of a chunk, into one piece of memory, and checks
// that they are what comes next.
func (f *feed) chunk(m *logv1.ReadChunk) (api.Chunk, error) {
	c := api.Chunk{
		From: fragment.LSN(m.GetFromLsn()), To: fragment.LSN(m.GetToLsn()), Tail: fragment.LSN(m.GetTailLsn()),
		Age: time.Duration(min(m.GetAgeMicros(), math.MaxInt64/1000)) * time.Microsecond,
	}
	n := uint64(c.To - c.From)
	switch size := m.GetBytes(); {
	case c.From != f.next || c.To <= c.From || c.To > c.Tail:
		return c, nonsense("LSNs [%d, %d) of a log with tail %d where %d comes next", c.From, c.To, c.Tail, f.next)
	case f.r.To != 0 && c.To > f.r.To, f.r.Limit != 0 && n > f.r.Limit:
		return c, nonsense("LSNs [%d, %d), beyond what was asked for", c.From, c.To)
	case size == 0 || size >= rpc.ChunkBytesMax:
		return c, nonsense("a chunk of %d bytes", size)
	}
	b, err := f.bytes(int(m.GetBytes()))
	if err != nil {
		return c, err
	}
	if c.Batches, err = split(b, c.From, c.To); err != nil {
		return c, err
	}
	f.next = c.To
	if f.r.Limit != 0 {
		f.r.Limit -= n
	}
	return c, nil
}

// bytes receives the next n bytes.
func (f *feed) bytes(n int) ([]byte, error) {
	b := make([]byte, n)
	for at := 0; at < n; {
		if err := f.in.RecvMsg(&f.frame); err != nil {
			if errors.Is(err, io.EOF) {
				err = nonsense("a read ends in the middle of a chunk")
			}
			return nil, err
		}
		have := f.frame.DataBytes()
		if f.frame.Message != nil || have == 0 || have > n-at {
			return nil, nonsense("%d bytes of a chunk where %d are left", have, n-at)
		}
		f.frame.Copy(b[at : at+have])
		at += have
	}
	return b, nil
}

// split returns the batches in b, which must be those of LSNs in [from, to),
// in their order. Whether they are whole, and all of them, is for the reader
// to find out, who can say what is lost.
func split(b []byte, from, to fragment.LSN) (all []fragment.Batch, err error) {
	next := from
	for len(b) > 0 {
		var x fragment.Batch
		if x, b, err = fragment.SplitBatch(b); err != nil {
			return nil, nonsense("%v", err)
		}
		if x.From() == 0 || x.From() < next && len(all) > 0 || x.To() <= next || x.From() >= to || x.To() < x.From() {
			return nil, nonsense("a batch of LSNs [%d, %d) where those from %d to %d should come", x.From(), x.To(), next, to)
		}
		next = x.To()
		all = append(all, x)
	}
	return all, nil
}

// close ends the feed; it is freed soon.
func (f *feed) close() { f.cancel() }

// nonsenseError says that a node does not keep to the protocol.
type nonsenseError struct{ what string }

func (e *nonsenseError) Error() string { return "the node answers nonsense: " + e.what }

func nonsense(format string, args ...any) error {
	return &nonsenseError{fmt.Sprintf(format, args...)}
}
