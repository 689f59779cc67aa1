package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

const (
	// openWait is how long what was taken waits for a stream. After that, who
	// appended it is told that there is none, and decides.
	openWait = time.Second
	// partHeadMax is more than a part has beside its data.
	partHeadMax = 64
	// partBytesMin is the least worth beginning a part for, in what is left of
	// a message.
	partBytesMin = 4 << 10
)

// session is one stream of batches, from its opening to its end. One goroutine
// sends; another one receives, and calls back.
type session struct {
	*appends
	request string // id of the stream
	opened  bool   // there is one
	refused bool   // it took nothing, and said why
	debug   bool

	number uint64 // of the last batch; the sender's
	half   *batch // not all of it was sent yet; the sender's

	mu       sync.Mutex // guards what follows
	flight   map[uint64]*batch
	answered bool // something
}

// run opens the stream and carries batches until it breaks, or ctx ends; it
// returns why. All that the stream took is answered then.
func (s *session) run(ctx context.Context) error {
	p := s.node.pool
	defer s.end(nil)
	if err := s.node.visit(ctx); err != nil {
		return err
	}
	c, err := s.node.acquire()
	if err != nil {
		return err
	}
	defer c.release()
	life := ctx
	ctx, cancel := context.WithCancel(p.outgoing(ctx, s.request))
	defer cancel()
	stream, err := s.open(ctx, c, cancel)
	if err != nil {
		p.lost(s.node)
		return s.foreign(err)
	}
	s.opened = true
	log := p.cfg.Logger
	s.debug = log.Enabled(ctx, slog.LevelDebug)
	log.Debug("append stream opened", "request", s.request, "addr", s.node.addr)
	received := make(chan error, 1)
	go func() {
		received <- s.receive(stream)
		cancel()
	}()
	err = s.send(ctx, stream)
	cancel()
	if why := <-received; err == nil || errors.Is(err, io.EOF) {
		err = why // what the sender noticed is only that it is over
	}
	if why := context.Cause(life); errors.Is(why, errStuck) {
		err = why
	}
	err = s.foreign(err)
	n := s.abandon(err)
	if p.ctx.Err() == nil {
		log.Warn("append stream broke", "request", s.request, "addr", s.node.addr, "unanswered", n, "err", err)
	}
	return err
}

// open opens the stream. The connection is there, but may just have broken.
func (s *session) open(ctx context.Context, c *conn, cancel func()) (grpc.ClientStream, error) {
	patience := time.AfterFunc(openWait, cancel)
	stream, err := c.log.Append(ctx, grpc.MaxRetryRPCBufferSize(0))
	if err == nil {
		// Until something was sent, gRPC would begin the stream anew by itself
		// when its connection breaks, and wait for another one for as long as
		// that takes.
		err = stream.SendMsg(&rpc.AppendFrame{})
	}
	if errors.Is(err, io.EOF) {
		err = stream.RecvMsg(&logv1.AppendResponse{}) // which knows why
	}
	if !patience.Stop() {
		err = s.node.unreached(context.Background(), errors.New("no answer"))
	}
	return stream, err
}

// send sends what is taken, until the stream is over.
func (s *session) send(ctx context.Context, stream grpc.ClientStream) error {
	for {
		if f := s.next(); f != nil {
			if err := stream.SendMsg(f); err != nil {
				return err
			}
			continue
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// next makes a message of what waits, of any logs, up to the most that one
// has; nil if nothing does.
func (s *session) next() *rpc.AppendFrame {
	var f rpc.AppendFrame
	told := false
	for {
		left := rpc.AppendFrameBytes - partHeadMax - f.Len()
		if left < partBytesMin {
			return &f
		}
		b := s.half
		if b == nil {
			if b = s.pop(); b == nil {
				break
			}
			s.begin(b)
		}
		data, head := b.Batch.Bytes()[b.sent:], rpc.AppendHead{}
		if b.sent == 0 {
			head = rpc.AppendHead{Request: b.number, Log: b.Log, IfTail: b.IfTail, BatchBytes: len(data)}
			if !told {
				head.ReadyBytes, told = s.readyBytes(b), true
			}
		}
		n := min(len(data), left)
		f.Add(head, data[:n])
		b.sent += n
		b.handed = n == len(data)
		if s.half = b; b.handed {
			s.half = nil
		}
	}
	if f.Len() == 0 {
		return nil
	}
	return &f
}

// begin gives a batch its number; an answer may come from now on.
func (s *session) begin(b *batch) {
	s.number++
	b.number = s.number
	if s.debug {
		s.node.pool.cfg.Logger.Debug("append", "request", s.name(b), "log", b.Log, "producer", b.Batch.Producer(),
			"sequence", b.Batch.FirstSeq(), "entries", b.Batch.Count(), "bytes", b.Batch.Len())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight[b.number] = b
}

// name is how a batch is called in logs, here and at the node.
func (s *session) name(b *batch) string { return fmt.Sprintf("%s/%d", s.request, b.number) }

// receive answers batches until the stream is over, and says why.
func (s *session) receive(stream grpc.ClientStream) error {
	var m logv1.AppendResponse
	for {
		if err := stream.RecvMsg(&m); err != nil {
			return err
		}
		s.node.pool.routes.hinted(s.node, m.GetHints())
		for _, r := range m.GetResults() {
			if err := s.result(r); err != nil {
				return err
			}
		}
	}
}

// result passes on what became of a batch. An error is the node's fault.
func (s *session) result(r *logv1.AppendResult) error {
	s.mu.Lock()
	b := s.flight[r.GetRequest()]
	s.mu.Unlock()
	if b == nil {
		return nonsense("a result for request %d, which is not open", r.GetRequest())
	}
	ack := api.Ack{From: fragment.LSN(r.GetFromLsn()), To: fragment.LSN(r.GetToLsn()), Time: fragment.Micros(r.GetTimeMicros())}
	err := rpc.FromError(r.GetError())
	if n := b.Batch.Count(); err == nil && (ack.From == 0 || ack.To != ack.From+fragment.LSN(n) || ack.To < ack.From) {
		return nonsense("LSNs [%d, %d) for %d entries", ack.From, ack.To, n)
	}
	if s.debug {
		s.node.pool.cfg.Logger.Debug("append answered", "request", s.name(b), "from", ack.From, "to", ack.To, "err", err)
	}
	s.mu.Lock()
	delete(s.flight, b.number)
	s.answered = true
	s.mu.Unlock()
	if err != nil {
		ack = api.Ack{}
	}
	s.node.says(err)
	s.answer(b, ack, err)
	return nil
}

// abandon answers what the stream leaves behind, in its order, once its
// goroutines have ended, and returns how much that was.
func (s *session) abandon(err error) int {
	numbers := slices.Sorted(maps.Keys(s.flight))
	for _, n := range numbers {
		b := s.flight[n]
		s.answer(b, api.Ack{}, s.outcome(err, b.handed))
	}
	return len(numbers)
}

// outcome is the answer to a batch that the node did not answer, because the
// stream broke with err; handed says that all of it was handed over to gRPC.
func (s *session) outcome(err error, handed bool) error {
	p := s.node.pool
	text := err.Error()
	if st, ok := status.FromError(err); ok {
		text = st.Message()
	}
	switch {
	case s.refused:
		return err
	case p.ctx.Err() != nil && !handed:
		return api.ErrClosed
	case p.ctx.Err() != nil:
		return fmt.Errorf("%w: the client was closed before there was an answer", api.ErrUncertain)
	case handed:
		return fmt.Errorf("%w: the connection broke: %s", api.ErrUncertain, text)
	case !s.opened && (errors.Is(err, api.ErrUnavailable) || isWrongCluster(err)):
		return err
	}
	return fmt.Errorf("%w: not sent, the connection broke: %s", api.ErrUnavailable, text)
}

// foreign returns what it means that the stream broke with err, if that is that
// the node belongs to another cluster.
func (s *session) foreign(err error) error {
	why := rpc.FromStatus(err, false)
	if !isWrongCluster(why) {
		return err
	}
	s.refused = !s.answered
	return s.node.pool.foreign(s.node, why)
}

func isWrongCluster(err error) bool {
	_, ok := errors.AsType[*api.WrongClusterError](err)
	return ok
}
