package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal/api"
)

func start(at uint64) *rpc.ReadFrame {
	return &rpc.ReadFrame{Message: &logv1.ReadResponse{Kind: &logv1.ReadResponse_Start{Start: &logv1.ReadStart{Position: at}}}}
}

func chunk(from, to, bytes int) *rpc.ReadFrame {
	return &rpc.ReadFrame{Message: &logv1.ReadResponse{Kind: &logv1.ReadResponse_Chunk{Chunk: &logv1.ReadChunk{
		FromLsn: uint64(from), ToLsn: uint64(to), TailLsn: 1000, AgeMicros: 5, Bytes: uint32(bytes),
	}}}}
}

func loss(from, to int) *rpc.ReadFrame {
	err := &api.DataLossError{Log: 7, From: fragment.LSN(from), To: fragment.LSN(to), Object: "x", Err: errors.New("gone")}
	return &rpc.ReadFrame{Message: &logv1.ReadResponse{Kind: &logv1.ReadResponse_Loss{Loss: rpc.ToError(err)}}}
}

// whole is a chunk of whole batches of some bytes, with all its bytes.
func whole(t testing.TB, size int, from int, counts ...int) []*rpc.ReadFrame {
	var b []byte
	to := from
	for _, n := range counts {
		b = append(b, stored(t, fragment.LSN(to), n, size).Bytes()...)
		to += n
	}
	return append([]*rpc.ReadFrame{chunk(from, to, len(b))}, pieces(b)...)
}

func pieces(b []byte) (all []*rpc.ReadFrame) {
	for len(b) > 0 {
		n := min(len(b), rpc.ReadFrameBytes)
		all = append(all, rpc.NewReadData(b[:n]))
		b = b[n:]
	}
	return all
}

func sendAll(s readStream, frames ...*rpc.ReadFrame) error {
	for _, f := range frames {
		if err := s.SendMsg(f); err != nil {
			return err
		}
	}
	return nil
}

func join(all ...[]*rpc.ReadFrame) (frames []*rpc.ReadFrame) {
	for _, x := range all {
		frames = append(frames, x...)
	}
	return frames
}

// TestRead: batches come unchanged, with what is told of them; what is lost is
// told in its place; the end is the end.
func TestRead(t *testing.T) {
	f := (&fake{onRead: func(r *logv1.ReadRequest, s readStream) error {
		require.EqualValues(t, 7, r.LogId)
		require.Equal(t, logv1.ReadFrom_READ_FROM_TIME, r.From)
		return sendAll(s, join([]*rpc.ReadFrame{start(3)}, whole(t, 300<<10, 3, 2, 1), []*rpc.ReadFrame{loss(6, 9)}, whole(t, 10, 9, 5))...)
	}}).serve(t)
	s := f.client(t)
	_, err := s.Read(t.Context(), api.ReadRequest{Log: 7, From: 99})
	require.ErrorIs(t, err, api.ErrInvalid)
	st, err := s.Read(t.Context(), api.ReadRequest{Log: 7, From: api.FromTime, Time: -5})
	require.NoError(t, err)
	require.EqualValues(t, 3, st.Position())
	c, err := st.Next(t.Context())
	require.NoError(t, err)
	require.Equal(t, [3]fragment.LSN{3, 6, 1000}, [3]fragment.LSN{c.From, c.To, c.Tail})
	require.Equal(t, 5*time.Microsecond, c.Age)
	require.Len(t, c.Batches, 2)
	require.Equal(t, stored(t, 3, 2, 300<<10).Bytes(), c.Batches[0].Bytes())
	require.Equal(t, stored(t, 5, 1, 300<<10).Bytes(), c.Batches[1].Bytes())
	require.EqualValues(t, 6, st.Position())
	_, err = st.Next(t.Context())
	require.Equal(t, &api.DataLossError{Log: 7, From: 6, To: 9, Object: "x", Err: errors.New("gone")}, err)
	require.EqualValues(t, 9, st.Position())
	c, err = st.Next(t.Context())
	require.NoError(t, err)
	require.Equal(t, stored(t, 9, 5, 10).Bytes(), c.Batches[0].Bytes())
	for range 2 {
		_, err = st.Next(t.Context())
		require.ErrorIs(t, err, io.EOF)
	}
	require.EqualValues(t, 14, st.Position())
	for range 2 {
		require.NoError(t, st.Close())
	}
	_, err = st.Next(t.Context())
	require.ErrorIs(t, err, api.ErrClosed)
}

// TestReadResumes: a stream goes on at its position, with what is left of its
// limit, whatever it began with, and however often it breaks.
func TestReadResumes(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var asked []string
		f := (&fake{}).serve(t)
		f.onRead = func(r *logv1.ReadRequest, s readStream) error {
			mu.Lock()
			asked = append(asked, fmt.Sprintf("%v %d limit %d to %d until %d follow %v", r.From, r.Value, r.Limit, r.ToLsn, r.UntilMicros, r.Follow))
			life := len(asked)
			mu.Unlock()
			at := int(r.Value)
			switch life {
			case 1: // it breaks before it starts
				return errors.New("broken")
			case 2:
				return errors.Join(sendAll(s, append([]*rpc.ReadFrame{start(3)}, whole(t, 10, 3, 2)...)...), errors.New("broken"))
			case 3: // it breaks in the middle of a chunk
				frames := whole(t, 300<<10, at, 1)
				return errors.Join(sendAll(s, append([]*rpc.ReadFrame{start(uint64(at))}, frames[:3]...)...), rpc.Status(api.ErrClosed))
			case 4:
				return errors.Join(sendAll(s, start(uint64(at)), loss(at, at+2)), errors.New("broken"))
			case 5, 6, 7:
				return errors.Join(sendAll(s, start(uint64(at))), errors.New("broken"))
			}
			return sendAll(s, append([]*rpc.ReadFrame{start(uint64(at))}, whole(t, 10, at, 8)...)...)
		}
		s := f.client(t)
		st, err := s.Read(t.Context(), api.ReadRequest{Log: 7, From: api.FromLast, Value: 50, Limit: 10, To: 500, Until: 99, Follow: true})
		require.NoError(t, err)
		c, err := st.Next(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 3, c.From)
		_, err = st.Next(t.Context())
		var lost *api.DataLossError
		require.ErrorAs(t, err, &lost)
		require.EqualValues(t, 5, lost.From)
		c, err = st.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, [2]fragment.LSN{7, 15}, [2]fragment.LSN{c.From, c.To})
		_, err = st.Next(t.Context())
		require.ErrorIs(t, err, io.EOF, "the limit is reached")
		require.Equal(t, []string{
			"READ_FROM_LAST 50 limit 10 to 500 until 99 follow true",
			"READ_FROM_LAST 50 limit 10 to 500 until 99 follow true",
			"READ_FROM_LSN 5 limit 8 to 500 until 99 follow true",
			"READ_FROM_LSN 5 limit 8 to 500 until 99 follow true",
			"READ_FROM_LSN 7 limit 8 to 500 until 99 follow true",
			"READ_FROM_LSN 7 limit 8 to 500 until 99 follow true",
			"READ_FROM_LSN 7 limit 8 to 500 until 99 follow true",
			"READ_FROM_LSN 7 limit 8 to 500 until 99 follow true",
		}, asked)
		require.NoError(t, st.Close())
		require.NoError(t, s.Close())
		f.stop()
	})
}

// TestReadGivesUp: a stream that can't go on says so after two minutes, or when
// ctx ends; the call may be repeated, and goes on.
func TestReadGivesUp(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		var opens atomic.Int32
		f := (&fake{}).serve(t)
		f.onRead = func(r *logv1.ReadRequest, s readStream) error {
			opens.Add(1)
			if broken.Load() {
				return errors.New("broken")
			}
			if r.Value == 4 {
				return sendAll(s, append([]*rpc.ReadFrame{start(4)}, whole(t, 10, 4, 1)...)...)
			}
			broken.Store(true)
			return errors.Join(sendAll(s, append([]*rpc.ReadFrame{start(3)}, whole(t, 10, 3, 1)...)...), errors.New("broken"))
		}
		s := f.client(t)
		st, err := s.Read(t.Context(), api.ReadRequest{Log: 7})
		require.NoError(t, err)
		_, err = st.Next(t.Context())
		require.NoError(t, err)
		before := time.Now()
		_, err = st.Next(t.Context())
		require.ErrorIs(t, err, api.ErrUnavailable)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		require.InDelta(t, 120, time.Since(before).Seconds(), 1)
		require.Less(t, opens.Load(), int32(150), "with pauses")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err = st.Next(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.EqualValues(t, 4, st.Position())
		broken.Store(false)
		c, err := st.Next(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 4, c.From)
		require.NoError(t, st.Close())
		require.NoError(t, s.Close())
		f.stop()
	})
}

// TestReadErrors: what the node says of itself is passed on, at once where it
// lives and can't read now; a repeated call asks again.
func TestReadErrors(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		for _, want := range []error{
			&api.TrimmedError{LSN: 3, First: 9}, api.ErrDeleted, api.ErrUnavailable, &api.WrongClusterError{Have: "c2"},
		} {
			f := (&fake{}).serve(t)
			opens := 0
			f.onRead = func(r *logv1.ReadRequest, s readStream) error {
				opens++
				return errors.Join(sendAll(s, append([]*rpc.ReadFrame{start(3)}, whole(t, 10, 3, 1)...)...), nil)
			}
			inner := f.onRead
			f.onRead = func(r *logv1.ReadRequest, s readStream) error {
				if r.Value == 0 {
					_ = inner(r, s)
				} else {
					opens++
				}
				return rpc.Status(want)
			}
			s := f.client(t)
			st, err := s.Read(t.Context(), api.ReadRequest{Log: 7})
			require.NoError(t, err)
			_, err = st.Next(t.Context())
			require.NoError(t, err)
			before := time.Now()
			_, err = st.Next(t.Context())
			require.ErrorContains(t, err, want.Error())
			require.Zero(t, time.Since(before), "at once")
			require.Equal(t, 1, opens)
			_, err = st.Next(t.Context())
			require.ErrorContains(t, err, want.Error())
			require.Greater(t, opens, 1)
			require.NoError(t, st.Close())

			_, err = s.Read(t.Context(), api.ReadRequest{Log: 7, From: api.FromLSN, Value: 3})
			require.ErrorContains(t, err, want.Error())
			require.NoError(t, s.Close())
			f.stop()
		}
	})
}

// TestReadContext: a call ends with its ctx, the stream does not.
func TestReadContext(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := (&fake{onRead: func(r *logv1.ReadRequest, s readStream) error {
			if r.LogId == 8 { // it never starts
				<-s.Context().Done()
				return nil
			}
			if err := sendAll(s, start(3)); err != nil {
				return err
			}
			time.Sleep(10 * time.Second)
			return sendAll(s, whole(t, 10, 3, 1)...)
		}}).serve(t)
		s := f.client(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Read(ctx, api.ReadRequest{Log: 8})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		st, err := s.Read(t.Context(), api.ReadRequest{Log: 7})
		require.NoError(t, err)
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err = st.Next(ctx)
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		c, err := st.Next(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 3, c.From)
		require.NoError(t, st.Close())
		require.NoError(t, s.Close())
		f.stop()
	})
}

// TestReadNonsense: whatever a node sends, a reader gets an error, and no bytes
// that do not continue what it has. What a chunk leaves out is lost, as far as
// the reader can tell; nothing else is called a loss.
func TestReadNonsense(t *testing.T) {
	leftOut := map[string]bool{"batches end too early": true, "batch behind": true}
	one := stored(t, 3, 2, 10).Bytes()
	two := append(append([]byte(nil), one...), stored(t, 5, 2, 10).Bytes()...)
	with := func(head *rpc.ReadFrame, b []byte) []any {
		all := []any{start(3), head}
		for _, p := range pieces(b) {
			all = append(all, p)
		}
		return all
	}
	for name, answer := range map[string][]any{
		"no start":                  {chunk(3, 5, len(one))},
		"nothing":                   {},
		"bytes first":               {rpc.NewReadData(one)},
		"start at 0":                {start(0)},
		"start twice":               {start(3), start(3)},
		"bytes without a chunk":     {start(3), rpc.NewReadData(one)},
		"empty message":             {start(3), raw{}},
		"no protobuf":               {start(3), raw{0xff, 0xff, 0xff, 0xff}},
		"bytes longer than said":    {start(3), raw{0x1a, 0xff, 0x7f, 1}},
		"a message of 2 MiB":        {start(3), raw(make([]byte, 2<<20))},
		"huge chunk":                with(chunk(3, 5, 4<<30-1), one),
		"chunk of 16 MiB":           with(chunk(3, 5, 16<<20), one),
		"empty chunk":               with(chunk(3, 5, 0), nil),
		"more bytes than the chunk": with(chunk(3, 5, len(one)-1), one),
		"no LSNs":                   with(chunk(3, 3, len(one)), one),
		"LSNs go back":              with(chunk(3, 2, len(one)), one),
		"chunk before the position": with(chunk(2, 5, len(one)), one),
		"chunk behind the position": with(chunk(4, 5, len(one)), one),
		"beyond the tail":           with(chunk(3, 1001, len(one)), one),
		"beyond the limit":          with(chunk(3, 7, len(two)), two),
		"batches end too early":     with(chunk(3, 6, len(one)), one),
		"a batch too many":          with(chunk(3, 5, len(two)), two),
		"the same batch twice":      with(chunk(3, 6, 2*len(one)), append(append([]byte(nil), one...), one...)),
		"batch of LSN 0":            with(chunk(3, 5, len(one)), batch(t, 1, 2, 10).Bytes()),
		"batch before":              with(chunk(3, 4, len(one)), stored(t, 1, 2, 10).Bytes()),
		"batch behind":              with(chunk(3, 5, len(one)), stored(t, 4, 2, 10).Bytes()),
		"no batch":                  with(chunk(3, 5, len(one)), make([]byte, len(one))),
		"half a batch":              with(chunk(3, 5, len(one)-5), one[:len(one)-5]),
		"loss in the past":          {start(3), loss(1, 3)},
		"loss of nothing":           {start(3), loss(3, 3)},
		"loss ahead":                {start(3), loss(4, 9)},
		"ends within a chunk":       {start(3), chunk(3, 5, len(one)), rpc.NewReadData(one[:10])},
	} {
		t.Run(name, func(t *testing.T) {
			opens := atomic.Int32{}
			f := (&fake{onRead: func(_ *logv1.ReadRequest, s readStream) error {
				opens.Add(1)
				for _, m := range answer {
					if err := s.SendMsg(m); err != nil {
						return err
					}
				}
				return nil
			}}).serve(t)
			f.onLog = func(context.Context, *logv1.GetLogRequest) (*logv1.GetLogResponse, error) {
				return &logv1.GetLogResponse{Log: &logv1.Log{Id: 7, Name: "log", FirstLsn: 1, TailLsn: 1000}}, nil
			}
			log, err := wpd.NewClient(f.client(t)).Log(t.Context(), "log")
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // it may take it for a broken connection
			defer cancel()
			next := wpd.LSN(3)
			for e, err := range log.Read(ctx, wpd.From(next), wpd.Limit(3)) {
				if err != nil {
					t.Log(err)
					_, lost := errors.AsType[*wpd.DataLossError](err)
					require.Equal(t, leftOut[name], lost)
					require.Positive(t, opens.Load())
					return
				}
				require.Equal(t, next, e.LSN)
				next++
			}
			t.Fatalf("it ended as if all were well, before LSN %d", next)
		})
	}
}

// TestReadDamaged: bytes that were damaged on the way are for the reader of
// package wpd to find, who checks every batch; what is in the way of finding
// the batches is found here. In no case a panic.
func TestReadDamaged(t *testing.T) {
	clean := append(append([]byte(nil), stored(t, 3, 2, 10).Bytes()...), stored(t, 5, 1, 10).Bytes()...)
	var damaged []byte
	f := (&fake{onRead: func(_ *logv1.ReadRequest, s readStream) error {
		return sendAll(s, append([]*rpc.ReadFrame{start(3), chunk(3, 6, len(clean))}, pieces(damaged)...)...)
	}}).serve(t)
	s := f.client(t)
	for i := range clean {
		damaged = append([]byte(nil), clean...)
		damaged[i] ^= 0x55
		st, err := s.Read(t.Context(), api.ReadRequest{Log: 7, From: api.FromLSN, Value: 3})
		require.NoError(t, err)
		c, err := st.Next(t.Context())
		require.NoError(t, st.Close())
		if err == nil {
			for _, b := range c.Batches {
				err = errors.Join(err, b.Verify(7))
			}
		}
		require.Error(t, err, "byte %d", i)
	}
}

// TestManyReaders: more followers than a connection carries get further ones;
// calls and appends go on.
func TestManyReaders(t *testing.T) {
	const n = 1000
	var open sync.WaitGroup
	open.Add(n)
	more := make(chan struct{})
	f := (&fake{
		onRead: func(_ *logv1.ReadRequest, s readStream) error {
			if err := sendAll(s, start(3)); err != nil {
				return err
			}
			open.Done()
			select {
			case <-more:
			case <-s.Context().Done():
			}
			return sendAll(s, whole(t, 10, 3, 1)...)
		},
		onTail: func(context.Context, *logv1.GetTailRequest) (*logv1.GetTailResponse, error) {
			return &logv1.GetTailResponse{TailLsn: 4}, nil
		},
		onAppend: func(s appendStream) error {
			return receiveBatches(s, nil, func(b received) error { return send(s, acked(b, 1)) })
		},
	}).serve(t)
	c := f.config()
	var dials atomic.Int32
	once := c.Dialer
	c.Dialer = func(ctx context.Context, addr string) (net.Conn, error) {
		dials.Add(1)
		return once(ctx, addr)
	}
	s := dial(t, c)
	streams := make([]api.Stream, n)
	for i := range streams {
		st, err := s.Read(t.Context(), api.ReadRequest{Log: 7, Follow: true})
		require.NoError(t, err)
		streams[i] = st
	}
	open.Wait() // at the same time
	require.EqualValues(t, n/200, dials.Load())
	_, err := s.Tail(t.Context(), 7, api.Level{})
	require.NoError(t, err)
	o := newOutcomes()
	require.NoError(t, o.append(t.Context(), s, 1, batch(t, 1, 1, 10)))
	o.wait(t, 1)
	close(more)
	for _, st := range streams {
		c, err := st.Next(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 3, c.From)
	}
	for _, st := range streams[:n/2] { // Close of the client ends the others
		require.NoError(t, st.Close())
	}
}
