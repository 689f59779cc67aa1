package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/wpd-io/wpd/rpc"
	adminv1 "github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	logv1 "github.com/wpd-io/wpd/rpc/wpdpb/logv1"
	"github.com/wpd-io/wpd/wal/api"
)

// Server serves a node's logs. Safe for concurrent use.
type Server struct {
	cfg     Config
	grpc    *grpc.Server
	health  *health.Server
	methods map[string]*method // by full name; fixed
	metrics *metrics

	conns   conns
	clients room
	peers   room // for the calls that other nodes make for themselves

	receiveWhole *semaphore.Weighted // bytes of batches that come in one piece
	receiveParts *semaphore.Weighted // bytes of the others
	passing      *semaphore.Weighted // held by who passes over a batch that is far too large
	slow         *semaphore.Weighted // bytes kept for readers that do not read
	crowds       *rate.Limiter       // of calls that begin where too many wait already

	appends, reads atomic.Int64 // streams

	drained, closing context.Context // end when Drain, or Close, is called
	drain, quit      context.CancelFunc
	receivers        sync.WaitGroup // of Append streams
	closed           sync.Once

	logConns, logResets, logRefused, logErrors limited
}

// The windows of HTTP/2: what a client may send before it is read. They are
// fixed, since gRPC would let them grow to 16 MiB for each stream. The
// connection's is not held back by streams that are not read, so the stream's
// is what bounds memory: one full message of an Append stream.
const (
	streamWindowBytes     = rpc.AppendFrameBytes
	connectionWindowBytes = 1 << 20
)

// New makes a server, which serves nobody yet.
func New(c Config) (*Server, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	l := c.Limits
	s := &Server{
		cfg: c, methods: make(map[string]*method), metrics: newMetrics(), health: health.NewServer(),
		conns:        conns{clientsMax: l.Connections, peersMax: l.PeerConnections, all: make(map[*conn]struct{})},
		clients:      room{calls: pool{most: l.Calls}, waiting: pool{most: l.WaitingCalls}},
		peers:        room{calls: pool{most: l.PeerCalls}, waiting: pool{most: l.PeerCalls}},
		receiveWhole: semaphore.NewWeighted(l.ReceiveBytes / 4),
		receiveParts: semaphore.NewWeighted(l.ReceiveBytes - l.ReceiveBytes/4),
		passing:      semaphore.NewWeighted(1),
		crowds:       newCrowd(l.CrowdRate),
		slow:         semaphore.NewWeighted(l.SlowBytes),
	}
	s.drained, s.drain = context.WithCancel(context.Background())
	s.closing, s.quit = context.WithCancel(context.Background())
	s.grpc = grpc.NewServer(
		grpc.ForceServerCodecV2(codec{}),
		grpc.InTapHandle(s.tap),
		grpc.ReadBufferSize(0), // see conn
		grpc.WaitForHandlers(true),
		grpc.MaxConcurrentStreams(uint32(l.Streams)),
		grpc.MaxHeaderListSize(rpc.HeaderBytesMax),
		grpc.MaxRecvMsgSize(rpc.MessageBytesMax),
		grpc.StaticStreamWindowSize(streamWindowBytes),
		grpc.StaticConnWindowSize(connectionWindowBytes),
		grpc.ConnectionTimeout(l.HandshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: l.IdleTimeout, Time: rpc.ServerPingEvery, Timeout: rpc.ServerPingTimeout,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: rpc.PingEveryMin, PermitWithoutStream: true}),
	)
	r := registrar{Server: s.grpc, s: s}
	logv1.RegisterLogServiceServer(r, &logService{s: s})
	if c.Admin != nil {
		admin := newAdminService(s)
		adminv1.RegisterAdminServiceServer(r, admin)
		if c.Cluster != nil {
			adminv1.RegisterClusterServiceServer(r, &clusterService{admin: admin, cluster: c.Cluster})
		}
	}
	if c.Register != nil {
		c.Register(registrar{Server: s.grpc, s: s, peers: true})
	}
	healthv1.RegisterHealthServer(r, s.health)
	if c.Reflection {
		reflection.Register(r)
	}
	status := healthv1.HealthCheckResponse_SERVING
	if c.Starting {
		status = healthv1.HealthCheckResponse_NOT_SERVING
	}
	s.setHealth(status)
	if err := s.metrics.register(c.Registerer); err != nil {
		return nil, fmt.Errorf("rpc server: register metrics: %w", err)
	}
	return s, nil
}

// Ready ends Config.Starting: the health service says SERVING from then on, until
// Drain.
func (s *Server) Ready() { s.setHealth(healthv1.HealthCheckResponse_SERVING) }

func (s *Server) setHealth(status healthv1.HealthCheckResponse_ServingStatus) {
	s.health.SetServingStatus("", status)
	s.health.SetServingStatus(logv1.LogService_ServiceDesc.ServiceName, status)
	if s.cfg.Admin != nil {
		s.health.SetServingStatus(adminv1.AdminService_ServiceDesc.ServiceName, status)
	}
}

// Serve serves what comes to a listener, and closes it in the end. It returns
// when the listener fails, or with nil once the server is closed. It may be
// called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	x := newListener(l, s)
	err := s.grpc.Serve(x)
	_ = x.Close() // gRPC has seen to it
	x.running.Wait()
	if errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve %s: %w", l.Addr(), api.ErrClosed)
	}
	return err
}

// Stats are the numbers of Append and Read streams now.
func (s *Server) Stats() (appendStreams, readStreams int) {
	return int(s.appends.Load()), int(s.reads.Load())
}

// Drain stops taking work: the health service says NOT_SERVING, new calls and
// new batches are refused with ERROR_REASON_CLOSING, Append streams answer
// what they took and end, Read streams end. It does not wait. Idempotent.
func (s *Server) Drain() {
	s.health.Shutdown()
	s.drain()
}

// Close drains, waits for the calls that are left as long as ctx allows, and
// cuts off those that are left then: with that, it returns ctx's error. No
// handler runs any more on return. Idempotent; later calls wait for the first.
func (s *Server) Close(ctx context.Context) (err error) {
	s.closed.Do(func() { err = s.close(ctx) })
	return err
}

func (s *Server) close(ctx context.Context) (err error) {
	s.Drain()
	s.quit()
	s.conns.closeSilent()
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cut)
		s.grpc.Stop()
	})
	s.grpc.GracefulStop()
	if !stop() {
		<-cut
		err = fmt.Errorf("rpc server: calls were cut off: %w", ctx.Err())
	}
	s.receivers.Wait()
	s.metrics.unregister()
	return err
}
