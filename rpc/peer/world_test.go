package peer_test

import (
	"context"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/test/bufconn"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc/peer"
	"github.com/wpd-io/wpd/rpc/server"
	peerv1 "github.com/wpd-io/wpd/rpc/wpdpb/peerv1"
	"github.com/wpd-io/wpd/wal/api"
)

const (
	clusterID = "6a7a7e0e-0000-4000-8000-000000000001"
	nodeAddr  = "n2:1"
)

// noLogs is the log service of a node without logs.
type noLogs struct{ api.Service }

func (noLogs) Limits(fragment.LogID) (fragment.Limits, error) {
	return fragment.Limits{}, api.ErrNotFound
}

// script answers what a test says; what is nil must not be called.
type script struct {
	propose func(context.Context, *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error)
	confirm func(context.Context, *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error)
	renew   func(context.Context, *peerv1.RenewRequest) (*peerv1.RenewResponse, error)
	place   func(context.Context, *peerv1.PlaceRequest) (*peerv1.PlaceResponse, error)
	join    func(context.Context, *peerv1.JoinRequest) (*peerv1.JoinResponse, error)
	release func(context.Context, *peerv1.ReleaseRequest) (*peerv1.ReleaseResponse, error)
	take    func(context.Context, *peerv1.TakeRequest) (*peerv1.TakeResponse, error)
	tail    func(context.Context, *peerv1.TailRequest) (*peerv1.TailResponse, error)
	follow  func(context.Context, *peerv1.FollowRequest, func([]byte) error) error
}

func (s *script) Propose(ctx context.Context, q *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
	return s.propose(ctx, q)
}

func (s *script) Confirm(ctx context.Context, q *peerv1.ConfirmRequest) (*peerv1.ConfirmResponse, error) {
	return s.confirm(ctx, q)
}

func (s *script) Renew(ctx context.Context, q *peerv1.RenewRequest) (*peerv1.RenewResponse, error) {
	return s.renew(ctx, q)
}

func (s *script) Place(ctx context.Context, q *peerv1.PlaceRequest) (*peerv1.PlaceResponse, error) {
	return s.place(ctx, q)
}

func (s *script) Join(ctx context.Context, q *peerv1.JoinRequest) (*peerv1.JoinResponse, error) {
	return s.join(ctx, q)
}

func (s *script) Release(ctx context.Context, q *peerv1.ReleaseRequest) (*peerv1.ReleaseResponse, error) {
	return s.release(ctx, q)
}

func (s *script) Take(ctx context.Context, q *peerv1.TakeRequest) (*peerv1.TakeResponse, error) {
	return s.take(ctx, q)
}

func (s *script) Tail(ctx context.Context, q *peerv1.TailRequest) (*peerv1.TailResponse, error) {
	return s.tail(ctx, q)
}

func (s *script) Follow(ctx context.Context, q *peerv1.FollowRequest, send func([]byte) error) error {
	return s.follow(ctx, q, send)
}

// node is another node, in memory.
type node struct {
	t      testing.TB
	server *server.Server
	l      *bufconn.Listener
	served sync.WaitGroup

	mu    sync.Mutex // guards what follows
	dials int
	wires []*wire
	dead  bool
}

func serve(t testing.TB, s *script) *node {
	t.Helper()
	n := &node{t: t, l: bufconn.Listen(256 << 10)}
	var err error
	n.server, err = server.New(server.Config{
		Logs: noLogs{}, ClusterID: clusterID, Register: peer.Register(clusterID, s),
		Limits: server.Limits{PeerConnections: 1000},
	})
	require.NoError(t, err)
	n.served.Go(func() { _ = n.server.Serve(n.l) }) // until it is closed
	return n
}

// close cuts what is left.
func (n *node) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_ = n.server.Close(ctx)
	n.served.Wait()
}

func (n *node) dial(ctx context.Context, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.dials++
	dead := n.dead
	n.mu.Unlock()
	if addr != nodeAddr || dead {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	c, err := n.l.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: c, gone: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wires = append(n.wires, w)
	return w, nil
}

func (n *node) dialled() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}

// client makes a client that has this node for another.
func (n *node) client() *peer.Client {
	c := peer.New(peer.Config{Dialer: n.dial})
	c.Introduce(clusterID, "n1-00")
	return c
}

// swallow loses, from now on, all that is said on the connections that there
// are.
func (n *node) swallow() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.wires {
		w.mu.Lock()
		w.mute = true
		w.mu.Unlock()
	}
}

// wire is a connection that may lose all that is said on it.
type wire struct {
	net.Conn
	mu   sync.Mutex
	mute bool
	once sync.Once
	gone chan struct{}
}

func (w *wire) muted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mute
}

func (w *wire) Write(b []byte) (int, error) {
	if w.muted() {
		return len(b), nil
	}
	return w.Conn.Write(b)
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if w.muted() {
		<-w.gone
		return 0, net.ErrClosed
	}
	return n, err
}

func (w *wire) Close() error {
	w.once.Do(func() { close(w.gone) })
	return w.Conn.Close()
}
