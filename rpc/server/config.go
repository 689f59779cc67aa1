package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc"
	adminv1 "github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/wal/api"
)

// Logs is what the server serves.
type Logs interface {
	api.Service
	// Limits is what batches of a log are held to. It must not wait for
	// anything. Errors: those of a log that is not there.
	Limits(log fragment.LogID) (fragment.Limits, error)
}

// Aged is what Logs may be besides: it says how old what it answers may be. age
// is 0 where it may not be old at all.
type Aged interface {
	TailAge(ctx context.Context, log fragment.LogID, l api.Level) (tail fragment.LSN, age time.Duration, err error)
}

// Admin is the node as who runs it sees it. All methods may be called at the
// same time. Errors are those of wal/api: ErrForbidden, ErrNotFound,
// ErrInvalid, *BusyError.
type Admin interface {
	Status(ctx context.Context) (*adminv1.GetStatusResponse, error)
	Stats() *adminv1.Stats
	Settings() []*adminv1.Setting
	// SetLogLevel gets one of debug, info, warn and error.
	SetLogLevel(level string) (previous string, err error)
	// ReadObject returns a whole object.
	ReadObject(ctx context.Context, key string) ([]byte, error)
	// Verify returns its report as one JSON object; progress may be called at
	// any time until it returns.
	Verify(ctx context.Context, progress func(objects, bytes uint64)) (report []byte, err error)
	// MeasureRaw begins to measure the bucket; End must follow.
	MeasureRaw(ctx context.Context) (Measuring, error)
}

// Measuring is measurements of a bucket, one after the other.
type Measuring interface {
	// Measure measures once. What is beyond the bounds of a request is a
	// *LimitError.
	Measure(ctx context.Context, r *adminv1.MeasureRawRequest) (*adminv1.MeasureRawResponse, error)
	// End removes what they have made.
	End()
}

// Config is what a Server works with.
type Config struct {
	Logs      Logs    // required
	Admin     Admin   // nil: there is no AdminService
	Cluster   Cluster // nil: there is no ClusterService; needs Admin
	ClusterID string  // UUID of the cluster; required
	NodeID    string
	Version   string // of the program, for people
	// Addr is where the node tells others that it serves, host:port; empty:
	// nobody is told.
	Addr string
	// Nodes returns where the other nodes of the cluster serve; nil: there are
	// none.
	Nodes func() []string
	// Writer returns where the node serves that writes a log, which may be this
	// one; empty: not known. It is asked for every batch, and must not wait for
	// anything. nil: nobody is told.
	Writer func(fragment.LogID) string
	// Register registers services that only other nodes call, on connections
	// that begin with rpc.PeerPreamble. They have limits of their own, and are
	// served while the server drains, until Close: then their streams end with
	// api.ErrClosed. nil: there are none.
	Register func(grpc.ServiceRegistrar)
	// Starting has the health service say NOT_SERVING until Ready: the node can
	// be asked, but has to wait for others.
	Starting bool
	// Reflection lets anybody ask for the protobuf descriptors.
	Reflection bool
	Limits     Limits

	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: metrics are not exported
}

// Limits is what a server grants its clients. Zero fields mean their
// defaults, negative ones are refused.
type Limits struct {
	// Connections bounds the connections of clients; what comes beyond is
	// closed at once, or, if it says nothing, within a second. Default
	// rpc.ConnectionsMax.
	Connections int
	// PeerConnections bounds those of other nodes, beside Connections. Default
	// rpc.PeerConnectionsMax.
	PeerConnections int
	// Streams bounds the calls at a time of one connection. Default
	// rpc.StreamsMax.
	Streams int
	// Calls bounds the calls at a time of all connections, but for eight of
	// each connection, which it always has. Each takes about 12 KiB, and as
	// much again that waits for the garbage collector. Default 1,280.
	Calls int
	// WaitingCalls bounds likewise those of them whose first message has not
	// come yet. Default 512.
	WaitingCalls int
	// PeerCalls bounds the calls at a time that other nodes make for themselves,
	// beside Calls, and but for eight of each connection. Default 1,024.
	PeerCalls int
	// CrowdRate bounds how many calls a second begin, on all connections
	// together, that are refused, or of connections with sixteen that have not
	// sent anything yet; others don't wait for them. Default 2,000.
	CrowdRate int
	// Resets bounds how many calls a connection may take back within ten
	// seconds; it is closed then. One that had no answer counts for ten, and
	// slows the connection down before. Default 10,000.
	Resets int
	// Batches bounds the batches of one Append stream that are taken and not
	// answered; beyond it, the stream is not read on. Default 4,096.
	Batches int
	// ReceiveBytes bounds the batches that were begun to be received and are
	// not handed on, in bytes; streams are not read on beyond it. A quarter of
	// it is for batches that come in one piece. Default rpc.ReceiveBytesMax,
	// at least 12 MiB.
	ReceiveBytes int64
	// SlowBytes bounds what is kept for readers that do not read, so that it
	// need not be fetched again, in bytes. Default 32 MiB.
	SlowBytes int64
	// HandshakeTimeout bounds the time until a connection speaks HTTP/2.
	// Default rpc.HandshakeTimeout.
	HandshakeTimeout time.Duration
	// StallTimeout bounds the wait for a request once a call has begun, and
	// for the next piece of a batch. Default rpc.StallTimeout.
	StallTimeout time.Duration
	// IdleTimeout closes connections without calls. Default rpc.IdleTimeout.
	IdleTimeout time.Duration
}

// receiveBytesMin leaves room for the largest batch.
const receiveBytesMin = 12 << 20

func (c *Config) validate() error {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Logs == nil:
		return errors.New("rpc server: no logs to serve")
	case c.ClusterID == "":
		return errors.New("rpc server: no cluster id")
	}
	return c.Limits.validate()
}

// WithDefaults returns the limits with what is zero filled in.
func (l Limits) WithDefaults() Limits {
	_ = l.validate() // what is wrong stays wrong, and New says so
	return l
}

func (l *Limits) validate() error {
	err := errors.Join(
		fill("Connections", &l.Connections, rpc.ConnectionsMax),
		fill("PeerConnections", &l.PeerConnections, rpc.PeerConnectionsMax),
		fill("Streams", &l.Streams, rpc.StreamsMax),
		fill("Calls", &l.Calls, 1280),
		fill("WaitingCalls", &l.WaitingCalls, 512),
		fill("PeerCalls", &l.PeerCalls, 1024),
		fill("CrowdRate", &l.CrowdRate, 2000),
		fill("Resets", &l.Resets, 10_000),
		fill("Batches", &l.Batches, 4096),
		fill("ReceiveBytes", &l.ReceiveBytes, rpc.ReceiveBytesMax),
		fill("SlowBytes", &l.SlowBytes, 32<<20),
		fill("HandshakeTimeout", &l.HandshakeTimeout, rpc.HandshakeTimeout),
		fill("StallTimeout", &l.StallTimeout, rpc.StallTimeout),
		fill("IdleTimeout", &l.IdleTimeout, rpc.IdleTimeout),
	)
	if err == nil && l.ReceiveBytes < receiveBytesMin {
		err = fmt.Errorf("rpc server: ReceiveBytes is %d, want at least %d", l.ReceiveBytes, receiveBytesMin)
	}
	return err
}

func fill[T int | int64 | time.Duration](name string, field *T, def T) error {
	switch {
	case *field < 0:
		return fmt.Errorf("rpc server: %s is negative", name)
	case *field == 0:
		*field = def
	}
	return nil
}
