package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/server"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// fill appends n entries of a size, in batches of three, each entry with its
// number in front, and waits until they are durable.
func (w *world) fill(log fragment.LogID, p *producer, n, bytes int) (want []string) {
	w.t.Helper()
	s := openAppend(w.t, w.conn())
	batches := 0
	for i := 0; i < n; i += 3 {
		var entries [][]byte
		for j := i; j < min(i+3, n); j++ {
			e := fmt.Appendf(nil, "%d ", j)
			for len(e) < bytes {
				e = append(e, byte('a'+j%26))
			}
			entries = append(entries, e)
			want = append(want, string(e))
		}
		batch := p.batch(entries...)
		batches++
		x := part{request: uint64(batches), log: log, bytes: len(batch)}
		for rest := batch; len(rest) > 0; x = (part{}) {
			x.data = rest[:min(len(rest), rpc.AppendFrameBytes)]
			rest = rest[len(x.data):]
			s.send(x)
		}
	}
	for _, r := range s.answers(batches) {
		require.Nil(w.t, r.Error)
	}
	require.NoError(w.t, s.end())
	return want
}

// TestReadPositions: a read starts and ends where it was asked to, and says so.
func TestReadPositions(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, wal.Config{})
		id, p := w.create("a")
		want := w.fill(id, &p, 10, 1)
		middle := time.Now().Add(time.Second).UnixMicro()
		time.Sleep(2 * time.Second)
		want = append(want, w.fill(id, &p, 10, 1)...)
		conn := w.conn()
		for _, c := range []struct {
			r        *logv1.ReadRequest
			from, to int
		}{
			{&logv1.ReadRequest{}, 0, 20},
			{&logv1.ReadRequest{From: logv1.ReadFrom_READ_FROM_EARLIEST}, 0, 20},
			{&logv1.ReadRequest{From: logv1.ReadFrom_READ_FROM_TAIL}, 20, 20},
			{&logv1.ReadRequest{From: logv1.ReadFrom_READ_FROM_LSN, Value: 3}, 2, 20},
			{&logv1.ReadRequest{From: logv1.ReadFrom_READ_FROM_LAST, Value: 4}, 16, 20},
			{&logv1.ReadRequest{From: logv1.ReadFrom_READ_FROM_TIME, TimeMicros: middle}, 10, 20},
			{&logv1.ReadRequest{UntilMicros: middle}, 0, 10},
			{&logv1.ReadRequest{ToLsn: 9}, 0, 8},
			{&logv1.ReadRequest{Limit: 5}, 0, 5},
			{&logv1.ReadRequest{From: logv1.ReadFrom_READ_FROM_LSN, Value: 2, Limit: 16, Follow: true}, 1, 17},
			{&logv1.ReadRequest{Level: &logv1.Level{Linearizable: true, AtLeastLsn: 20}}, 0, 20},
		} {
			c.r.LogId = uint64(id)
			s := openRead(t, conn, c.r)
			require.Equal(t, append([]string(nil), want[c.from:c.to]...), s.all(id), "%v", c.r)
		}
	})
}

// TestReadErrors: of the opening, and of what comes later.
func TestReadErrors(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, wal.Config{})
		id, p := w.create("a")
		w.fill(id, &p, 9, 1)
		require.NoError(t, w.node.Node.Logs().Trim(t.Context(), id, 4))
		conn := w.conn()
		fails := func(r *logv1.ReadRequest) error {
			r.LogId = max(r.LogId, uint64(id))
			_, err := openRead(t, conn, r).next()
			require.Error(t, err)
			return remote(err)
		}
		lsn := logv1.ReadFrom_READ_FROM_LSN
		require.Equal(t, &api.TrimmedError{LSN: 3, First: 4}, fails(&logv1.ReadRequest{From: lsn, Value: 3}))
		require.Equal(t, &api.BeyondTailError{LSN: 11, Tail: 10}, fails(&logv1.ReadRequest{From: lsn, Value: 11}))
		require.ErrorIs(t, fails(&logv1.ReadRequest{From: lsn}), api.ErrInvalid)
		require.ErrorIs(t, fails(&logv1.ReadRequest{From: 77}), api.ErrInvalid)
		require.ErrorIs(t, fails(&logv1.ReadRequest{UntilMicros: -1}), api.ErrInvalid)
		require.ErrorIs(t, fails(&logv1.ReadRequest{LogId: 999}), api.ErrNotFound)
		follower := openRead(t, conn, &logv1.ReadRequest{LogId: uint64(id), From: logv1.ReadFrom_READ_FROM_TAIL, Follow: true})
		require.EqualValues(t, 10, follower.start())
		require.NoError(t, w.node.Node.Logs().Delete(t.Context(), id))
		_, err := follower.next()
		require.ErrorIs(t, remote(err), api.ErrDeleted)
		require.ErrorIs(t, fails(&logv1.ReadRequest{}), api.ErrDeleted)
	})
}

// TestFollow: what is appended arrives at once, with the tail as it is.
func TestFollow(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, wal.Config{})
		id, p := w.create("a")
		follower := openRead(t, w.conn(), &logv1.ReadRequest{LogId: uint64(id), Follow: true})
		require.EqualValues(t, 1, follower.start())
		s := openAppend(t, w.conn())
		for i := range uint64(20) {
			s.send(part{request: i + 1, log: id, data: p.batch(fmt.Append(nil, i))})
			s.acknowledged(i+1, i+1, i+2)
			g := follower.chunk()
			got, _ := g.entries(t, id)
			require.Equal(t, []string{fmt.Sprint(i)}, got)
			require.EqualValues(t, i+2, g.chunk.TailLsn)
			time.Sleep(time.Minute)
		}
		require.NoError(t, s.end())
	})
}

// TestChunks: a chunk has about a mebibyte, and always a whole batch.
func TestChunks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, wal.Config{})
		id, p := w.create("a")
		want := w.fill(id, &p, 60, 100_000)                // batches of 300 KB
		want = append(want, w.fill(id, &p, 3, 900_000)...) // one of 2.7 MB
		s := openRead(t, w.conn(), &logv1.ReadRequest{LogId: uint64(id)})
		s.start()
		var got []string
		large := 0
		for len(got) < len(want) {
			g := s.chunk()
			if len(g.bytes) > rpc.ReadChunkBytes {
				large++
				require.EqualValues(t, 3, g.chunk.ToLsn-g.chunk.FromLsn, "one batch alone")
			}
			entries, _ := g.entries(t, id)
			got = append(got, entries...)
		}
		require.Equal(t, 1, large)
		require.Equal(t, want, got)
	})
}

// source is an api.Stream that does what a test says.
type source struct {
	at     fragment.LSN
	next   func(ctx context.Context) (api.Chunk, error)
	closed *atomic.Int64
}

func (s *source) Next(ctx context.Context) (api.Chunk, error) { return s.next(ctx) }
func (s *source) Position() fragment.LSN                      { return s.at }
func (s *source) Close() error {
	if s.closed != nil {
		s.closed.Add(1)
	}
	return nil
}

// TestLoss: a loss is told, and what lies behind it follows.
func TestLoss(t *testing.T) {
	p := producer{id: 1, epoch: 1, next: 1}
	stored := func(lsn fragment.LSN) fragment.Batch {
		b, err := fragment.OpenBatch(p.batch([]byte("x")), fragment.Limits{})
		require.NoError(t, err)
		b.Stamp(fragment.Stamp{Log: 7, Attachment: 1, Epoch: 1, From: lsn, Time: 1})
		return b
	}
	steps := []func() (api.Chunk, error){
		func() (api.Chunk, error) {
			return api.Chunk{Batches: []fragment.Batch{stored(1)}, From: 1, To: 2, Tail: 9, Age: time.Second}, nil
		},
		func() (api.Chunk, error) {
			return api.Chunk{}, &api.DataLossError{Log: 7, From: 2, To: 5, Object: "chains/1/2", Err: errors.New("gone")}
		},
		func() (api.Chunk, error) {
			return api.Chunk{Batches: []fragment.Batch{stored(5)}, From: 5, To: 6, Tail: 9}, nil
		},
		func() (api.Chunk, error) { return api.Chunk{}, io.EOF },
	}
	s := serve(t, server.Config{Logs: &script{read: func(context.Context, api.ReadRequest) (api.Stream, error) {
		return &source{at: 1, next: func(context.Context) (api.Chunk, error) {
			step := steps[0]
			steps = steps[1:]
			return step()
		}}, nil
	}}})
	r := openRead(t, s.conn(), &logv1.ReadRequest{LogId: 7})
	require.EqualValues(t, 1, r.start())
	g := r.chunk()
	require.EqualValues(t, time.Second.Microseconds(), g.chunk.AgeMicros)
	g, err := r.next()
	require.NoError(t, err)
	require.Equal(t, &api.DataLossError{Log: 7, From: 2, To: 5, Object: "chains/1/2", Err: errors.New("gone")}, g.loss)
	require.EqualValues(t, 5, r.chunk().chunk.FromLsn)
	_, err = r.next()
	require.Equal(t, io.EOF, err)
}

// narrow makes a connection whose client is sent little that it did not read.
func (s *served) narrow() *grpc.ClientConn {
	return s.conn(grpc.WithStaticStreamWindowSize(64<<10), grpc.WithStaticConnWindowSize(64<<10))
}

// TestSlowReader: a reader that takes long for each chunk gets everything, in
// order, while it costs the node next to nothing, and others nothing.
func TestSlowReader(t *testing.T) {
	for _, keep := range []int64{32 << 20, 1} {
		t.Run(fmt.Sprintf("with %d bytes to keep", keep), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				p, mem := newNode(t, wal.Config{FragmentBytes: 1 << 20, CacheBytes: -1})
				s := serve(t, server.Config{Logs: p.Node.Logs(), Limits: server.Limits{SlowBytes: keep}})
				w := &world{served: s, node: p, mem: mem, client: s.logs()}
				id, pr := w.create("a")
				want := w.fill(id, &pr, 300, 30_000)
				for _, r := range []*logv1.ReadRequest{{}, {ToLsn: 251}, {Limit: 250}, {Limit: 300, Follow: true}, {UntilMicros: time.Now().UnixMicro() + 1}} {
					r.LogId = uint64(id)
					x := openRead(t, s.narrow(), r)
					at := x.start()
					var got []string
					for {
						time.Sleep(5 * time.Second) // it does not read
						require.Zero(t, p.Node.Logs().Prefetched(), "what was fetched ahead is given up")
						g, err := x.next()
						if err == io.EOF {
							break
						}
						require.NoError(t, err)
						more, first := g.entries(t, id)
						require.Equal(t, at, first)
						at = g.chunk.ToLsn
						got = append(got, more...)
					}
					n := 300
					if r.ToLsn != 0 || r.Limit == 250 {
						n = 250
					}
					require.Equal(t, want[:n], got)
				}
				require.Greater(t, s.metric("wpd_rpc_stalled_reads_total"), 20.0)
			})
		})
	}
}

// TestReadersThatDoNotRead: two hundred of them, with megabytes to get, hold
// little; another one reads everything meanwhile.
func TestReadersThatDoNotRead(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p, mem := newNode(t, wal.Config{FragmentBytes: 4 << 20, CacheBytes: -1})
		s := serve(t, server.Config{Logs: p.Node.Logs(), Limits: server.Limits{SlowBytes: 4 << 20}})
		w := &world{served: s, node: p, mem: mem, client: s.logs()}
		id, pr := w.create("a")
		// 18 MB, in full fragments: the store takes nothing until all is there.
		rule := p.Faults.Add(blobtest.Fault{Kind: blobtest.Create, Hang: true, Prefix: "chains/"})
		filled := make(chan []string)
		go func() { filled <- w.fill(id, &pr, 600, 30_000) }()
		synctest.Wait()
		require.Positive(t, rule.Waiting())
		rule.Release()
		want := <-filled
		before := memory()
		const n = 200
		conn := s.narrow()
		for range n { // one after the other, so that each fetches for itself
			openRead(t, conn, &logv1.ReadRequest{LogId: uint64(id), From: logv1.ReadFrom_READ_FROM_LSN, Value: 100})
			synctest.Wait()
		}
		_, reads := s.Stats()
		require.Equal(t, n, reads)
		time.Sleep(2 * time.Second)
		require.Zero(t, p.Node.Logs().Prefetched())
		require.EqualValues(t, n, s.metric("wpd_rpc_stalled_reads_total"))
		grown := memory() - before
		// Both ends of the stream, with the client's window full, two frames of
		// 64 KiB at the server, and all that it keeps; not 4 MB of a fragment.
		require.Less(t, grown, int64(n*(384<<10)), "%d KiB for each", grown/n>>10)
		require.Equal(t, want, openRead(t, s.conn(), &logv1.ReadRequest{LogId: uint64(id)}).all(id))
		require.NoError(t, conn.Close())
		synctest.Wait()
		_, reads = s.Stats()
		require.Zero(t, reads)
	})
}

// deaf is a connection to a machine that can be switched off.
type deaf struct {
	net.Conn
	is     *atomic.Bool
	close  sync.Once
	closed chan struct{}
}

func (d *deaf) Read(b []byte) (int, error) {
	n, err := d.Conn.Read(b)
	if d.is.Load() {
		<-d.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (d *deaf) Write(b []byte) (int, error) {
	if d.is.Load() {
		return len(b), nil
	}
	return d.Conn.Write(b)
}

func (d *deaf) Close() error {
	d.close.Do(func() { close(d.closed) })
	return d.Conn.Close()
}

// TestVanishedReader: a reader whose machine is gone is noticed, and what it
// held is free.
func TestVanishedReader(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, wal.Config{})
		id, p := w.create("a")
		w.fill(id, &p, 300, 30_000)
		var cut atomic.Bool
		conn := w.conn(grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := w.dial(ctx)
			return &deaf{Conn: c, is: &cut, closed: make(chan struct{})}, err
		}))
		x := openRead(t, conn, &logv1.ReadRequest{LogId: uint64(id)})
		x.start()
		follower := openRead(t, conn, &logv1.ReadRequest{LogId: uint64(id), From: logv1.ReadFrom_READ_FROM_TAIL, Follow: true})
		follower.start()
		cut.Store(true)
		synctest.Wait()
		_, reads := w.Stats()
		require.Equal(t, 2, reads)
		time.Sleep(rpc.ServerPingEvery + 2*rpc.ServerPingTimeout)
		synctest.Wait()
		_, reads = w.Stats()
		require.Zero(t, reads)
		require.Zero(t, w.node.Node.Logs().Prefetched())
		_, err := w.client.Hello(t.Context(), &logv1.HelloRequest{})
		require.NoError(t, err)
	})
}

// TestLossWhileSlow: what a slow reader was being sent can't be read again:
// its stream ends, and the loss is found by whoever reads on.
func TestLossWhileSlow(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p, mem := newNode(t, wal.Config{FragmentBytes: 1 << 20, CacheBytes: -1})
		s := serve(t, server.Config{Logs: p.Node.Logs(), Limits: server.Limits{SlowBytes: 1}})
		w := &world{served: s, node: p, mem: mem, client: s.logs()}
		id, pr := w.create("a")
		w.fill(id, &pr, 3, 300_000) // one batch
		x := openRead(t, s.narrow(), &logv1.ReadRequest{LogId: uint64(id)})
		x.start()
		time.Sleep(5 * time.Second)
		lost := 0
		for _, key := range mem.Keys(fragment.ChainsPrefix()) {
			if _, n, err := fragment.ParseChainKey(key); err == nil && n > 0 && mem.Lose(key) {
				lost++
			}
		}
		require.Positive(t, lost)
		var err error
		for err == nil {
			_, err = x.next()
		}
		require.ErrorIs(t, remote(err), api.ErrUnavailable)
		require.Equal(t, codes.Unavailable, status.Code(err))
		y := openRead(t, s.conn(), &logv1.ReadRequest{LogId: uint64(id)})
		y.start()
		g, err := y.next()
		require.NoError(t, err)
		require.NotNil(t, g.loss)
	})
}

// TestStoreThatHangs: a reader whose store does not answer can leave.
func TestStoreThatHangs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p, mem := newNode(t, wal.Config{CacheBytes: -1})
		s := serve(t, server.Config{Logs: p.Node.Logs()})
		w := &world{served: s, node: p, mem: mem, client: s.logs()}
		id, pr := w.create("a")
		w.fill(id, &pr, 3, 10)
		rule := p.Faults.Add(blobtest.Fault{Kind: blobtest.Read, Hang: true, Prefix: "chains/"})
		conn := s.conn()
		x := openRead(t, conn, &logv1.ReadRequest{LogId: uint64(id)})
		x.start()
		synctest.Wait()
		require.Positive(t, rule.Waiting())
		require.NoError(t, conn.Close())
		synctest.Wait()
		_, reads := s.Stats()
		require.Zero(t, reads)
		rule.Release()
	})
}
