package client_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/client"
	adminv1 "github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// The streams as a fake sees them: RecvMsg takes an *rpc.AppendFrame, SendMsg
// of a read an *rpc.ReadFrame, and either takes raw.
type (
	appendStream = grpc.BidiStreamingServer[logv1.AppendRequest, logv1.AppendResponse]
	readStream   = grpc.ServerStreamingServer[logv1.ReadResponse]
)

// fake is a node by a script: what has no function answers Unimplemented.
type fake struct {
	logv1.UnimplementedLogServiceServer

	admin    adminv1.AdminServiceServer // nil: Unimplemented
	cluster  string
	self     string   // where it says that it serves
	others   []string // and where others do
	onHello  func(context.Context) error
	onAppend func(appendStream) error
	onRead   func(*logv1.ReadRequest, readStream) error
	onTail   func(context.Context, *logv1.GetTailRequest) (*logv1.GetTailResponse, error)
	onCreate func(context.Context, *logv1.CreateLogRequest) (*logv1.CreateLogResponse, error)
	onOpen   func(context.Context, *logv1.OpenProducerRequest) (*logv1.OpenProducerResponse, error)
	onLog    func(context.Context, *logv1.GetLogRequest) (*logv1.GetLogResponse, error)
	onWriter func(context.Context, *logv1.GetWriterRequest) (*logv1.GetWriterResponse, error)
	onList   func(context.Context, *logv1.ListLogsRequest) (*logv1.ListLogsResponse, error)

	health *health.Server
	server *grpc.Server
	l      net.Listener
	dial   func(context.Context) (net.Conn, error)
	served sync.WaitGroup
}

// serve starts a fake in memory; it ends with the test.
func (f *fake) serve(t testing.TB) *fake {
	l := bufconn.Listen(1 << 20)
	f.dial = l.DialContext
	return f.on(t, l)
}

// on starts a fake on a listener.
func (f *fake) on(t testing.TB, l net.Listener) *fake {
	if f.cluster == "" {
		f.cluster = "c1"
	}
	f.server = grpc.NewServer(grpc.ForceServerCodecV2(codec{}), grpc.MaxConcurrentStreams(rpc.StreamsMax),
		grpc.InitialWindowSize(4<<20), grpc.InitialConnWindowSize(16<<20),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: rpc.PingEveryMin, PermitWithoutStream: true}))
	f.health = health.NewServer()
	healthv1.RegisterHealthServer(f.server, f.health)
	logv1.RegisterLogServiceServer(f.server, f)
	if f.admin != nil {
		adminv1.RegisterAdminServiceServer(f.server, f.admin)
	}
	f.l = l
	f.served.Go(func() { _ = f.server.Serve(l) })
	t.Cleanup(f.stop)
	return f
}

func (f *fake) stop() {
	f.server.Stop()
	f.served.Wait()
}

// config dials the fake in memory.
func (f *fake) config() client.Config {
	return client.Config{Addrs: []string{"fake:1"}, Dialer: func(ctx context.Context, _ string) (net.Conn, error) { return f.dial(ctx) }}
}

// client dials the fake; it is closed with the test.
func (f *fake) client(t testing.TB) *client.Service {
	t.Helper()
	return dial(t, f.config())
}

func dial(t testing.TB, c client.Config) *client.Service {
	t.Helper()
	s, err := client.Dial(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func (f *fake) Hello(ctx context.Context, _ *logv1.HelloRequest) (*logv1.HelloResponse, error) {
	if f.onHello != nil {
		if err := f.onHello(ctx); err != nil {
			return nil, err
		}
	}
	return &logv1.HelloResponse{ClusterId: f.cluster, NodeId: "n1", Version: "v", Addr: f.self, OtherAddrs: f.others}, nil
}

func (f *fake) Append(s appendStream) error { return f.onAppend(s) }

func (f *fake) Read(r *logv1.ReadRequest, s readStream) error { return f.onRead(r, s) }

func (f *fake) GetTail(ctx context.Context, r *logv1.GetTailRequest) (*logv1.GetTailResponse, error) {
	return f.onTail(ctx, r)
}

func (f *fake) CreateLog(ctx context.Context, r *logv1.CreateLogRequest) (*logv1.CreateLogResponse, error) {
	return f.onCreate(ctx, r)
}

func (f *fake) OpenProducer(ctx context.Context, r *logv1.OpenProducerRequest) (*logv1.OpenProducerResponse, error) {
	return f.onOpen(ctx, r)
}

func (f *fake) GetLog(ctx context.Context, r *logv1.GetLogRequest) (*logv1.GetLogResponse, error) {
	return f.onLog(ctx, r)
}

func (f *fake) GetWriter(ctx context.Context, r *logv1.GetWriterRequest) (*logv1.GetWriterResponse, error) {
	if f.onWriter == nil {
		return nil, rpc.Status(api.ErrUnavailable)
	}
	return f.onWriter(ctx, r)
}

func (f *fake) ListLogs(ctx context.Context, r *logv1.ListLogsRequest) (*logv1.ListLogsResponse, error) {
	return f.onList(ctx, r)
}

// raw is a message as it is on the wire.
type raw []byte

// codec is rpc.Codec, and sends raw.
type codec struct{ rpc.Codec }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if r, ok := v.(raw); ok {
		return mem.BufferSlice{mem.SliceBuffer(r)}, nil
	}
	return c.Codec.Marshal(v)
}

// received is a batch as a fake got it.
type received struct {
	rpc.AppendHead
	data []byte
}

// receiveBatches takes batches off a stream until it ends, or take, which is
// called with each whole one, returns an error. message hears the size of each
// message.
func receiveBatches(s appendStream, message func(parts, bytes int), take func(received) error) error {
	var now received
	for {
		var f rpc.AppendFrame
		if err := s.RecvMsg(&f); err != nil {
			return err
		}
		parts, bytes := 0, 0
		for {
			h, ok, err := f.Next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			parts++
			bytes += h.DataBytes
			if h.Request != 0 {
				if len(now.data) != now.BatchBytes {
					return errors.New("a batch before the last one was whole")
				}
				now = received{AppendHead: h}
			}
			piece := make([]byte, h.DataBytes)
			f.Copy(piece)
			now.data = append(now.data, piece...)
			if len(now.data) == now.BatchBytes {
				if err := take(now); err != nil {
					return err
				}
			}
		}
		f.Free()
		if message != nil {
			message(parts, bytes)
		}
	}
}

// acked acknowledges a batch at an LSN.
func acked(b received, from uint64) *logv1.AppendResult {
	x, err := fragment.OpenBatch(b.data, fragment.Limits{EntryBytesMax: 8 << 20})
	if err != nil {
		return &logv1.AppendResult{Request: b.Request, Error: rpc.ToError(err)}
	}
	return &logv1.AppendResult{Request: b.Request, FromLsn: from, ToLsn: from + uint64(x.Count()), TimeMicros: 1}
}

func send(s appendStream, results ...*logv1.AppendResult) error {
	return s.Send(&logv1.AppendResponse{Results: results})
}

// batch makes one of producer 1, of so many entries of some bytes each.
func batch(t testing.TB, seq uint64, entries, bytes int) fragment.Batch {
	t.Helper()
	b := fragment.BatchBuilder{Limits: fragment.Limits{EntryBytesMax: 8 << 20}}
	data := make([]byte, bytes)
	for i := range data {
		data[i] = byte(i) ^ byte(i>>8) ^ byte(seq)
	}
	for range entries {
		require.NoError(t, b.Add(nil, data))
	}
	return b.Finish(fragment.BatchMeta{Producer: 1, ProducerEpoch: 1, FirstSeq: seq, LowestSeq: 1})
}

// stored makes a batch as it lies in log 7.
func stored(t testing.TB, from fragment.LSN, entries, bytes int) fragment.Batch {
	t.Helper()
	b := batch(t, uint64(from), entries, bytes)
	b.Stamp(fragment.Stamp{Log: 7, Attachment: 1, Epoch: 1, From: from, Time: 1})
	return b
}

// outcome is what a done callback was told.
type outcome struct {
	ack api.Ack
	err error
}

// outcomes counts the callbacks of appends, by the first sequence of a batch.
type outcomes struct {
	mu  sync.Mutex
	got map[uint64][]outcome
	in  []uint64 // in the order of the callbacks
	ch  chan struct{}
}

func newOutcomes() *outcomes {
	return &outcomes{got: make(map[uint64][]outcome), ch: make(chan struct{}, 1<<16)}
}

// append hands a batch to a service.
func (o *outcomes) append(ctx context.Context, s api.Service, log fragment.LogID, b fragment.Batch) error {
	seq := b.FirstSeq()
	return s.Append(ctx, api.AppendRequest{Log: log, Batch: b}, func(ack api.Ack, err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.got[seq] = append(o.got[seq], outcome{ack, err})
		o.in = append(o.in, seq)
		o.ch <- struct{}{}
	})
}

// wait waits for n callbacks in all.
func (o *outcomes) wait(t testing.TB, n int) {
	t.Helper()
	patience := time.NewTimer(30 * time.Second)
	defer patience.Stop()
	for range n {
		select {
		case <-o.ch:
		case <-patience.C:
			t.Fatalf("fewer than %d outcomes after 30 s", n)
		}
	}
}

// of returns the one outcome of a batch.
func (o *outcomes) of(t testing.TB, seq uint64) outcome {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	require.Len(t, o.got[seq], 1, "batch %d", seq)
	return o.got[seq][0]
}

// incoming returns a value of a call's metadata.
func incoming(ctx context.Context, key string) string {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get(key); len(v) == 1 {
		return v[0]
	}
	return ""
}
