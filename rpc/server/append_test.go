package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/server"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// TestAppendParts: batches whole, in parts across messages, and of several
// logs in one message; then read back as they were sent.
func TestAppendParts(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, wal.Config{})
		a, pa := w.create("a")
		b, pb := w.create("b")
		conn := w.conn()
		s := openAppend(t, conn, rpc.MetadataRequest, "r9")

		small := pa.batch([]byte("a1"), []byte("a2"))
		s.send(part{request: 1, log: a, data: small})
		s.acknowledged(1, 1, 3)

		big := pa.batch(bytes.Repeat([]byte("A"), 900_000))
		other := pb.batch([]byte("b1"))
		third := pa.batch([]byte("a4"))
		cut := rpc.AppendFrameBytes
		s.send(part{request: 2, log: b, data: other}, part{request: 3, log: a, bytes: len(big), data: big[:cut]})
		s.send(part{data: big[cut : cut+1]})
		s.send(part{data: big[cut+1 : 2*cut]}, part{data: big[2*cut : 2*cut+5]})
		s.send(part{data: big[2*cut+5 : 3*cut]})
		s.send(part{data: big[3*cut:]}, part{request: 7, log: a, data: third, ifTail: 4})
		got := s.answers(3)
		for request, lsns := range map[uint64][2]uint64{2: {1, 2}, 3: {3, 4}, 7: {4, 5}} {
			require.Nil(t, got[request].Error)
			require.Equal(t, lsns, [2]uint64{got[request].FromLsn, got[request].ToLsn})
		}
		// Sent again, it gets the same LSNs.
		s.send(part{request: 8, log: a, data: third})
		s.acknowledged(8, 4, 5)
		require.NoError(t, s.end())
		require.Len(t, w.log.lines("batch taken", "append=r9/7", "sequence=4"), 1)
		require.Len(t, w.log.lines("batch answered", "append=r9/7", "from=4", "to=5"), 1)

		all := openRead(t, conn, &logv1.ReadRequest{LogId: uint64(a)}).all(a)
		require.Equal(t, []string{"a1", "a2", string(bytes.Repeat([]byte("A"), 900_000)), "a4"}, all)
		require.Equal(t, []string{"b1"}, openRead(t, conn, &logv1.ReadRequest{LogId: uint64(b)}).all(b))
	})
}

// TestPlainProtobuf: a client that knows nothing of the codec.
func TestPlainProtobuf(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, wal.Config{})
		id, p := w.create("a")
		s, err := w.client.Append(t.Context())
		require.NoError(t, err)
		data := p.batch([]byte("x"))
		require.NoError(t, s.Send(&logv1.AppendRequest{Parts: []*logv1.AppendPart{
			{Request: 1, LogId: uint64(id), BatchBytes: uint32(len(data)), Data: data[:50]}, {Data: data[50:]},
		}}))
		r, err := s.Recv()
		require.NoError(t, err)
		require.EqualValues(t, 1, r.Results[0].FromLsn)
		require.NoError(t, s.CloseSend())
		_, err = s.Recv()
		require.Equal(t, io.EOF, err)
	})
}

// TestRefusedBatches: each is answered with its reason, its bytes are passed
// over, and what is around it goes on.
func TestRefusedBatches(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, wal.Config{})
		id, p := w.create("a")
		gone, pg := w.create("gone")
		orphan := pg.batch([]byte("x"))
		require.NoError(t, w.node.Node.Logs().Delete(t.Context(), gone))
		s := openAppend(t, w.conn())

		corrupted := p.batch([]byte("first"))
		corrupted[len(corrupted)-1]++
		p.next--
		stamped := p.batch([]byte("first"))
		stamped[30] = 1
		p.next--
		newer := p.batch([]byte("first"))
		newer[4] = 9
		p.next--
		good := p.batch([]byte("first"))
		after := p.batch([]byte("second"))
		large := make([]byte, 300_000)
		most := uint64(fragment.Limits{}.BatchBytesMax())
		const bytesClaimed = 100 << 20
		s.send(
			part{request: 1, log: 999, data: good},
			part{request: 2, log: gone, data: orphan},
			part{request: 3, log: id, data: corrupted},
			part{request: 4, log: id, data: make([]byte, 7)},
			part{request: 5, log: id, data: stamped},
			part{request: 6, log: id, data: good, ifTail: 9},
			part{request: 7, log: id, data: newer},
			part{request: 8, log: id, data: good},
			part{request: 9, log: id, data: append(bytes.Clone(good), 0)},
			part{request: 10, log: id, data: after},
			part{request: 11, log: id, bytes: bytesClaimed, data: large},
		)
		got := s.answers(11)
		for _, request := range []uint64{3, 4, 5, 7, 9} {
			require.ErrorIs(t, rpc.FromError(got[request].Error), api.ErrInvalid, "batch %d", request)
		}
		require.ErrorIs(t, rpc.FromError(got[1].Error), api.ErrNotFound)
		require.ErrorIs(t, rpc.FromError(got[2].Error), api.ErrDeleted)
		require.Equal(t, &api.TailError{Want: 9, Tail: 1}, rpc.FromError(got[6].Error))
		require.EqualValues(t, 1, got[8].FromLsn)
		require.EqualValues(t, 2, got[10].FromLsn)
		require.Equal(t, &api.LimitError{What: "batch bytes", Limit: most, Value: bytesClaimed}, rpc.FromError(got[11].Error))
		for sent := len(large); sent < bytesClaimed; { // its bytes may come all the same
			n := min(len(large), bytesClaimed-sent)
			s.send(part{data: large[:n]})
			sent += n
		}
		last := p.batch([]byte("third"))
		s.send(part{request: 12, log: id, data: last})
		s.acknowledged(12, 3, 4)

		// An entry over the limit of its log.
		wide := producer{id: p.id, epoch: p.epoch, next: p.next}
		var b fragment.BatchBuilder
		b.Limits = fragment.Limits{EntryBytesMax: 2 << 20}
		require.NoError(t, b.Add(nil, make([]byte, fragment.EntryBytesDefault+1)))
		batch := b.Finish(fragment.BatchMeta{Producer: p.id, ProducerEpoch: p.epoch, FirstSeq: wide.next, LowestSeq: 1}).Bytes()
		for at := 0; at < len(batch); at += rpc.AppendFrameBytes {
			x := part{data: batch[at:min(at+rpc.AppendFrameBytes, len(batch))]}
			if at == 0 {
				x.request, x.log, x.bytes = 13, id, len(batch)
			}
			s.send(x)
		}
		limit := requireAs[*api.LimitError](t, rpc.FromError(s.answer(13).Error))
		require.EqualValues(t, fragment.EntryBytesDefault, limit.Limit)
		require.NoError(t, s.end())
	})
}

// TestMalformedStreams: the stream ends and says why; another one goes on.
func TestMalformedStreams(t *testing.T) {
	data := make([]byte, 100)
	for _, c := range []struct {
		name  string
		parts []part
	}{
		{"a part of nothing", []part{{data: data}}},
		{"no number", []part{{bytes: 100, data: data}}},
		{"the same number again", []part{{request: 3, data: data}, {request: 3, data: data}}},
		{"a lower number", []part{{request: 3, data: data}, {request: 2, data: data}}},
		{"more bytes than its length", []part{{request: 1, bytes: 99, data: data}}},
		{"more bytes in a later part", []part{{request: 1, bytes: 150, data: data}, {data: data}}},
		{"another batch in between", []part{{request: 1, bytes: 1 << 30, data: data}, {request: 2, data: data}}},
		{"another log in between", []part{{request: 1, bytes: 150, data: data}, {log: 1, data: data[:50]}}},
		{"a part without bytes", []part{{request: 1, bytes: 150, data: data}, {}, {data: data[:50]}}},
		{"no length", []part{{request: 1, bytes: -1, data: data}}},
		{"the end in the middle", []part{{request: 1, bytes: 150, data: data}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, server.Config{Logs: &script{limits: func(fragment.LogID) (fragment.Limits, error) {
				return fragment.Limits{}, api.ErrNotFound // each batch is refused by itself
			}}})
			x := openAppend(t, s.conn())
			x.send() // an empty message is none of these
			for _, p := range c.parts {
				x.send(p)
			}
			require.NoError(t, x.CloseSend())
			var err error
			for err == nil {
				var m logv1.AppendResponse
				err = x.RecvMsg(&m)
			}
			require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
			require.ErrorIs(t, remote(err), api.ErrInvalid)
			_, err = s.logs().Hello(t.Context(), &logv1.HelloRequest{})
			require.NoError(t, err)
		})
	}
	t.Run("no protobuf", func(t *testing.T) {
		s := serve(t, server.Config{Logs: &script{}})
		for _, b := range [][]byte{{0xff}, {0x0a, 99, 1}, {0x12, 0}} {
			x, err := s.logs().Append(t.Context())
			require.NoError(t, err)
			m := &logv1.AppendRequest{}
			m.ProtoReflect().SetUnknown(b) // travels as it is
			raw, err := proto.Marshal(m)
			require.NoError(t, err)
			require.Equal(t, b, raw)
			require.NoError(t, x.Send(m))
			_, err = x.Recv()
			require.ErrorIs(t, remote(err), api.ErrInvalid)
		}
	})
}

// TestMalformedStreamKeepsAnswers: what was taken before is still answered.
func TestMalformedStreamKeepsAnswers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, wal.Config{})
		id, p := w.create("a")
		rule := w.node.Faults.Add(blobtest.Fault{Kind: blobtest.Create, Hang: true, Prefix: "chains/"})
		s := openAppend(t, w.conn())
		s.send(part{request: 1, log: id, data: p.batch([]byte("x"))}, part{data: []byte("junk")})
		synctest.Wait()
		require.Positive(t, rule.Waiting())
		rule.Release()
		s.acknowledged(1, 1, 2)
		require.ErrorIs(t, remote(s.over()), api.ErrInvalid)
	})
}

// TestAppendErrors: what the service says of a batch, at once or later, comes
// back; what is none of ours leaves the outcome open.
func TestAppendErrors(t *testing.T) {
	var mu sync.Mutex
	var now, later error
	s := serve(t, server.Config{Logs: &script{append: func(_ context.Context, _ api.AppendRequest, done func(api.Ack, error)) error {
		mu.Lock()
		defer mu.Unlock()
		if now != nil {
			return now
		}
		done(api.Ack{}, later)
		return nil
	}}})
	x := openAppend(t, s.conn())
	p := producer{id: 1, epoch: 1, next: 1}
	n := uint64(0)
	send := func(a, b error) error {
		mu.Lock()
		now, later = a, b
		mu.Unlock()
		n++
		x.send(part{request: n, log: 1, data: p.batch([]byte("x"))})
		return rpc.FromError(x.answer(n).Error)
	}
	for _, err := range []error{
		api.ErrUnavailable, api.ErrMoved, api.ErrUncertain, api.ErrUnknownProducer, api.ErrStored, api.ErrDeleted,
		&api.FencedError{What: "x", Have: 1, Want: 2}, &api.TailError{Want: 1, Tail: 2}, &api.SequenceError{Have: 1, Last: 2},
	} {
		want := rpc.FromError(rpc.ToError(err))
		require.Equal(t, want, send(err, nil))
		require.Equal(t, want, send(nil, err))
	}
	for _, err := range []error{send(api.ErrClosed, nil), send(nil, api.ErrClosed)} {
		require.ErrorIs(t, err, api.ErrUnavailable)
		require.NotErrorIs(t, err, api.ErrClosed, "the client is not closed")
	}
	for _, err := range []error{send(errors.New("secret"), nil), send(nil, context.Canceled)} {
		require.ErrorIs(t, err, api.ErrUncertain)
		require.NotContains(t, err.Error(), "secret")
	}
	require.NotEmpty(t, s.log.lines("level=ERROR", "secret"))
	require.NoError(t, x.end())
}

// TestAnswersInOrder: those of one producer come in the order of its batches,
// however they are bunched.
func TestAnswersInOrder(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, wal.Config{})
		id, p := w.create("a")
		s := openAppend(t, w.conn())
		const n = 2000
		go func() {
			for i := range n {
				s.send(part{request: uint64(i + 1), log: id, data: p.batch(fmt.Append(nil, i))})
			}
			_ = s.CloseSend()
		}()
		next := uint64(1)
		for {
			var m logv1.AppendResponse
			err := s.RecvMsg(&m)
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			for _, r := range m.Results {
				require.Nil(t, r.Error)
				require.Equal(t, []uint64{next, next, next + 1}, []uint64{r.Request, r.FromLsn, r.ToLsn})
				next++
			}
		}
		require.EqualValues(t, n+1, next)
	})
}

// TestBatchesInFlight: beyond the bound, the stream is not read on; and an
// answer that nobody reads counts.
func TestBatchesInFlight(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var open []func(api.Ack, error)
		s := serve(t, server.Config{Limits: server.Limits{Batches: 10}, Logs: &script{append: func(_ context.Context, r api.AppendRequest, done func(api.Ack, error)) error {
			mu.Lock()
			defer mu.Unlock()
			open = append(open, done)
			return nil
		}}})
		x := openAppend(t, s.conn())
		p := producer{id: 1, epoch: 1, next: 1}
		var parts []part
		for i := range 100 {
			parts = append(parts, part{request: uint64(i + 1), log: 1, data: p.batch([]byte("x"))})
		}
		x.send(parts...)
		for left := 100; left > 0; left -= 10 {
			synctest.Wait()
			mu.Lock()
			now := open
			open = nil
			mu.Unlock()
			require.Len(t, now, 10)
			for _, done := range now {
				done(api.Ack{From: 1, To: 2}, nil)
			}
		}
		x.answers(100)
		require.NoError(t, x.end())
	})
}

// TestStalledBatch: a stream that stops in the middle of a batch is ended and
// its room given back; so is one that goes on a byte at a time.
func TestStalledBatch(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		taken := 0
		s := serve(t, server.Config{Logs: &script{append: func(_ context.Context, _ api.AppendRequest, done func(api.Ack, error)) error {
			taken++
			done(api.Ack{From: 1, To: 2}, nil)
			return nil
		}}})
		conn := s.conn()
		p := producer{id: 1, epoch: 1, next: 1}
		begun := time.Now()
		x := openAppend(t, conn)
		x.send(part{request: 1, log: 1, bytes: 200, data: make([]byte, 100)})
		err := x.over()
		require.ErrorIs(t, remote(err), api.ErrInvalid)
		require.Equal(t, rpc.StallTimeout, time.Since(begun))

		begun = time.Now()
		x = openAppend(t, conn)
		const bytes = 1 << 20
		x.send(part{request: 1, log: 1, bytes: bytes, data: make([]byte, 100)})
		ended := make(chan error)
		go func() { ended <- x.over() }()
		for open := true; open; {
			select {
			case err = <-ended:
				open = false
			case <-time.After(rpc.StallTimeout - time.Second):
				x.send(part{data: []byte{1}})
			}
		}
		require.ErrorIs(t, remote(err), api.ErrInvalid)
		require.Equal(t, rpc.StallTimeout*(1+bytes/rpc.AppendFrameBytes), time.Since(begun))

		// One that waits between batches may wait for as long as it likes.
		x = openAppend(t, conn)
		for i := range 3 {
			time.Sleep(time.Hour)
			x.send(part{request: uint64(i + 1), log: 1, data: p.batch([]byte("x"))})
			require.Nil(t, x.answer(uint64(i+1)).Error)
		}
		require.NoError(t, x.end())
		require.Equal(t, 3, taken)
	})
}

// TestHalfBatchesKeepNobodyWaiting: clients that stop in the middle of as many
// batches as there is room for: whoever sends whole ones is served, and the
// others once the stalled ones are ended.
func TestHalfBatchesKeepNobodyWaiting(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, wal.Config{})
		id, p := w.create("a")
		bad := w.conn()
		var stalled []*appendStream
		for range 50 {
			x := openAppend(t, bad)
			x.send(part{request: 1, log: id, bytes: 4 << 20, data: make([]byte, 100)})
			stalled = append(stalled, x)
		}
		synctest.Wait()
		begun := time.Now()
		good := openAppend(t, w.conn())
		good.send(part{request: 1, log: id, data: p.batch([]byte("x"))})
		good.acknowledged(1, 1, 2)
		require.Less(t, time.Since(begun), time.Second)

		big := p.batch(bytes.Repeat([]byte("B"), 500_000))
		good.send(part{request: 2, log: id, bytes: len(big), data: big[:rpc.AppendFrameBytes]})
		good.send(part{data: big[rpc.AppendFrameBytes:]})
		good.acknowledged(2, 2, 3)
		require.NoError(t, good.end())
		for _, x := range stalled {
			require.ErrorIs(t, remote(x.over()), api.ErrInvalid)
		}
	})
}

// TestBackPressure: while the service has no room, the stream is not read, and
// others are; what waits is bounded.
func TestBackPressure(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		s := serve(t, server.Config{Logs: &script{append: func(ctx context.Context, r api.AppendRequest, done func(api.Ack, error)) error {
			if r.Log == 1 {
				select {
				case <-free:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			done(api.Ack{From: 1, To: 2}, nil)
			return nil
		}}})
		conn := s.conn()
		p := producer{id: 1, epoch: 1, next: 1}
		x := openAppend(t, conn)
		const n = 100
		var sent sync.WaitGroup
		sending := 0
		sent.Go(func() {
			for i := range n {
				x.send(part{request: uint64(i + 1), log: 1, data: p.batch(make([]byte, 200_000))})
				sending++
			}
		})
		synctest.Wait()
		require.Less(t, sending, 10, "the client is held back")
		other := producer{id: 1, epoch: 1, next: 1}
		y := openAppend(t, conn)
		y.send(part{request: 1, log: 2, data: other.batch([]byte("x"))})
		require.Nil(t, y.answer(1).Error)
		close(free)
		x.answers(n)
		sent.Wait()
		require.NoError(t, x.end())
		require.NoError(t, y.end())
	})
}

// TestVanishedAppender: a client that goes away with batches in flight; they
// are stored, and nothing is left behind.
func TestVanishedAppender(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, wal.Config{})
		id, p := w.create("a")
		rule := w.node.Faults.Add(blobtest.Fault{Kind: blobtest.Create, Hang: true, Prefix: "chains/"})
		conn := w.conn()
		x := openAppend(t, conn)
		x.send(part{request: 1, log: id, data: p.batch([]byte("x"))}, part{request: 2, log: id, bytes: 1 << 20, data: make([]byte, 10)})
		synctest.Wait()
		require.Positive(t, rule.Waiting())
		appends, _ := w.Stats()
		require.Equal(t, 1, appends)
		require.NoError(t, conn.Close())
		synctest.Wait()
		appends, _ = w.Stats()
		require.Zero(t, appends)
		rule.Release()
		tail, err := w.client.GetTail(t.Context(), &logv1.GetTailRequest{LogId: uint64(id), Level: &logv1.Level{AtLeastLsn: 1}})
		require.NoError(t, err)
		require.EqualValues(t, 2, tail.TailLsn)
	})
}
