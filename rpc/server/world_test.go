package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/node"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/server"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

const clusterID = "6a7a7e0e-0000-4000-8000-000000000001"

// served is a server under test, on a listener in memory or on the loopback.
type served struct {
	*server.Server
	t    testing.TB
	dial func(ctx context.Context) (net.Conn, error)
	addr string // empty in memory
	log  *logged
	done chan error // of Serve

	registry *prometheus.Registry
}

// serve starts a server in memory. It is closed at the end of the test.
func serve(t testing.TB, c server.Config) *served {
	t.Helper()
	l := bufconn.Listen(256 << 10)
	return serveOn(t, c, l, l.DialContext, "")
}

// serveTCP starts a server on the loopback.
func serveTCP(t testing.TB, c server.Config) *served {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	dial := func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	}
	return serveOn(t, c, l, dial, l.Addr().String())
}

func serveOn(t testing.TB, c server.Config, l net.Listener, dial func(context.Context) (net.Conn, error), addr string) *served {
	t.Helper()
	s := &served{t: t, dial: dial, addr: addr, log: &logged{}, done: make(chan error, 1)}
	if c.ClusterID == "" {
		c.ClusterID = clusterID
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if c.Registerer == nil {
		s.registry = prometheus.NewRegistry()
		c.Registerer = s.registry
	}
	var err error
	s.Server, err = server.New(c)
	require.NoError(t, err)
	go func() { s.done <- s.Serve(l) }()
	t.Cleanup(s.close)
	return s
}

// close closes the server at once.
func (s *served) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = s.Close(ctx) // what the test left open is cut
	require.NoError(s.t, <-s.done)
	s.done <- nil
}

// conn makes a client's connection, closed at the end of the test, before the
// server is.
func (s *served) conn(opts ...grpc.DialOption) *grpc.ClientConn {
	s.t.Helper()
	opts = append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.dial(ctx) }),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rpc.Codec{})),
	}, opts...)
	c, err := grpc.NewClient("passthrough:///node", opts...)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *served) logs() logv1.LogServiceClient { return logv1.NewLogServiceClient(s.conn()) }

// metric returns a metric's value, the sum over its labels.
func (s *served) metric(name string) (sum float64) {
	s.t.Helper()
	sum, err := metricOf(s.registry, name)
	require.NoError(s.t, err)
	return sum
}

func metricOf(r *prometheus.Registry, name string) (sum float64, err error) {
	all, err := r.Gather()
	for _, family := range all {
		if family.GetName() == name {
			for _, m := range family.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
			return sum, err
		}
	}
	return 0, fmt.Errorf("no metric %q: %w", name, err)
}

// logged is what a server logged.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// lines returns the lines that contain all of these.
func (l *logged) lines(with ...string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
lines:
	for line := range strings.Lines(l.b.String()) {
		for _, w := range with {
			if !strings.Contains(line, w) {
				continue lines
			}
		}
		found = append(found, line)
	}
	return found
}

// script is a service that does what a test says. What is nil must not be
// called.
type script struct {
	api.Service
	limits func(fragment.LogID) (fragment.Limits, error)
	create func(ctx context.Context, name string) (api.LogInfo, error)
	tail   func(ctx context.Context, log fragment.LogID, l api.Level) (fragment.LSN, error)
	append func(ctx context.Context, r api.AppendRequest, done func(api.Ack, error)) error
	read   func(ctx context.Context, r api.ReadRequest) (api.Stream, error)
	list   func(ctx context.Context, prefix, after string, limit int) ([]api.LogInfo, error)
}

func (s *script) Limits(log fragment.LogID) (fragment.Limits, error) {
	if s.limits == nil {
		return fragment.Limits{}, nil
	}
	return s.limits(log)
}

func (s *script) Create(ctx context.Context, name string, _ api.LogConfig) (api.LogInfo, error) {
	return s.create(ctx, name)
}

func (s *script) Tail(ctx context.Context, log fragment.LogID, l api.Level) (fragment.LSN, error) {
	return s.tail(ctx, log, l)
}

func (s *script) Append(ctx context.Context, r api.AppendRequest, done func(api.Ack, error)) error {
	return s.append(ctx, r, done)
}

func (s *script) Read(ctx context.Context, r api.ReadRequest) (api.Stream, error) {
	return s.read(ctx, r)
}

func (s *script) List(ctx context.Context, prefix, after string, limit int) ([]api.LogInfo, error) {
	return s.list(ctx, prefix, after, limit)
}

// world is a node, and a server of its logs.
type world struct {
	*served
	node   *testcluster.Proc
	mem    *blobtest.Mem
	client logv1.LogServiceClient
}

func newNode(t testing.TB, c wal.Config) (*testcluster.Proc, *blobtest.Mem) {
	t.Helper()
	mem := blobtest.NewMem()
	w := &testcluster.World{Raw: mem, Config: node.Config{Log: c}}
	p, err := w.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Stop()) })
	return p, mem
}

// newWorld makes one in memory.
func newWorld(t testing.TB, c wal.Config) *world {
	t.Helper()
	p, mem := newNode(t, c)
	s := serve(t, server.Config{Logs: p.Node.Logs(), NodeID: "n1", Version: "v0"})
	return &world{served: s, node: p, mem: mem, client: s.logs()}
}

// create makes a log and a producer of it.
func (w *world) create(name string) (fragment.LogID, producer) {
	w.t.Helper()
	info, err := w.node.Node.Logs().Create(w.t.Context(), name, api.LogConfig{})
	require.NoError(w.t, err)
	return info.ID, w.producer(info.ID)
}

func (w *world) producer(log fragment.LogID) producer {
	w.t.Helper()
	o, err := w.node.Node.Logs().OpenProducer(w.t.Context(), api.OpenRequest{Log: log})
	require.NoError(w.t, err)
	return producer{id: o.ID, epoch: o.Epoch, next: 1}
}

// producer numbers batches.
type producer struct {
	id    fragment.ProducerID
	epoch fragment.ProducerEpoch
	next  uint64
}

// batch makes the next batch.
func (p *producer) batch(entries ...[]byte) []byte {
	var b fragment.BatchBuilder
	for _, e := range entries {
		if err := b.Add(nil, e); err != nil {
			panic(err)
		}
	}
	batch := b.Finish(fragment.BatchMeta{Producer: p.id, ProducerEpoch: p.epoch, FirstSeq: p.next, LowestSeq: 1})
	p.next += uint64(len(entries))
	return batch.Bytes()
}

// within returns a context that ends soon enough for a test that hangs.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// with adds metadata to a call.
func with(ctx context.Context, pairs ...string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 20*time.Second, time.Millisecond, what)
}

// remote is what a client makes of the error of a call.
func remote(err error) error { return rpc.FromStatus(err, true) }

func requireAs[E error](t testing.TB, err error) E {
	t.Helper()
	e, ok := errors.AsType[E](err)
	require.Truef(t, ok, "got %v (%T), want a %T", err, err, e)
	return e
}

// memory is what the process has in use: heap and stacks.
func memory() int64 {
	runtime.GC()
	runtime.GC() // what has finalizers, and pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
