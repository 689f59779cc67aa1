package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/wpd-io/wpd/blobstore/rawlimit"
	"github.com/wpd-io/wpd/node/process"
	"github.com/wpd-io/wpd/rpc"
	"github.com/wpd-io/wpd/rpc/server"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/wal/api"
)

// What is taken on at most.
const (
	measureConcurrencyMax = 64
	measureObjectsMax     = 4096
	measureBytesMax       = 4 << 30
	// measureKeptMax and measureKeptObjectsMax bound what measurements of one
	// client keep in the bucket: several times what a bench of the largest usual
	// size makes, in bytes; and what can be removed within rpc.MeasuredRemoval,
	// if a removal takes 50 ms.
	measureKeptMax        = 16 << 30
	measureKeptObjectsMax = 64 << 10
)

// measurements are those of a node, of one client at a time.
type measurements struct {
	swept chan struct{} // closed once what an earlier life left is removed

	mu  sync.Mutex
	now *measuring // nil: there are none
}

// measuring is a server.Measuring.
type measuring struct {
	n       *Node
	limit   *rawlimit.Limit
	kept    uint64 // bytes
	objects uint64 // that have them
	once    sync.Once
}

// MeasureRaw begins to measure what the bucket can do without the node, by
// creating objects under a scratch prefix. They stay there until End, or until
// the node closes: room that is used again is faster than the fresh room that a
// log takes. Errors: api.ErrForbidden, *api.BusyError, api.ErrClosed.
func (n *Node) MeasureRaw(ctx context.Context) (server.Measuring, error) {
	if !n.cfg.AllowBench {
		return nil, fmt.Errorf("%w: this node measures its bucket for nobody: wpd serve does with --allow-bench, wpd dev always", api.ErrForbidden)
	}
	select {
	case <-n.measurements.swept:
	case <-ctx.Done():
		return nil, unavailable(ctx, ctx.Err())
	}
	m, err := n.beginMeasuring()
	if err != nil {
		return nil, err
	}
	n.sweep(ctx) // what could not be removed when it should
	return m, nil
}

func (n *Node) beginMeasuring() (*measuring, error) {
	all := &n.measurements
	all.mu.Lock()
	defer all.mu.Unlock()
	switch {
	case n.isDraining():
		return nil, api.ErrClosed
	case all.now != nil:
		return nil, &api.BusyError{What: "the node is busy: somebody measures the bucket", RetryAfter: time.Second}
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	all.now = &measuring{n: n, limit: rawlimit.New(n.store, n.scratch()+hex.EncodeToString(id[:])+"-", 1)}
	return all.now, nil
}

// scratch starts the keys of what this node makes: others of its cluster may
// measure, too. It is no directory: on a file system, an empty one would stay.
func (n *Node) scratch() string { return rawlimit.ScratchPrefix + n.member.Identity() + "-" }

// sweep removes what measurements have left.
func (n *Node) sweep(ctx context.Context) {
	count, err := rawlimit.Sweep(ctx, n.store, n.scratch(), measureConcurrencyMax)
	switch {
	case err != nil && ctx.Err() == nil:
		n.cfg.Logger.Warn("remove what an earlier measurement of the bucket left", "prefix", n.scratch(), "err", err)
	case count > 0:
		n.cfg.Logger.Info("removed what an earlier measurement of the bucket left", "prefix", n.scratch(), "objects", count)
	}
}

// sweepFirst is the sweep for a node's earlier lives.
func (n *Node) sweepFirst() {
	defer close(n.measurements.swept)
	if n.cfg.AllowBench {
		n.sweep(n.draining)
	}
}

// Measure implements server.Measuring. Errors: *api.LimitError, api.ErrInvalid,
// *api.BusyError, api.ErrUnavailable.
func (m *measuring) Measure(ctx context.Context, r *adminv1.MeasureRawRequest) (*adminv1.MeasureRawResponse, error) {
	if err := checkMeasure(r); err != nil {
		return nil, err
	}
	ctx, done, err := m.n.beginErrand(ctx, "somebody measures the bucket")
	if err != nil {
		return nil, err
	}
	defer done()
	response := &adminv1.MeasureRawResponse{}
	bytes, objects := uint64(r.GetObjectBytes())*uint64(r.GetObjects()), uint64(r.GetObjects())
	if m.kept+bytes > measureKeptMax || m.objects+objects > measureKeptObjectsMax {
		if err := m.limit.Remove(ctx, measureConcurrencyMax); err != nil {
			return nil, unavailable(ctx, err)
		}
		response.RemovedBytes, m.kept, m.objects = m.kept, 0, 0
	}
	m.kept, m.objects = m.kept+bytes, m.objects+objects
	cpu := process.CPU()
	x, err := m.limit.Run(ctx, rawlimit.Run{ObjectBytes: int(r.GetObjectBytes()), Concurrency: int(r.GetConcurrency()), Objects: int(r.GetObjects())})
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	response.ElapsedMicros = uint64(x.Took.Microseconds())
	response.CpuMicros = uint64((process.CPU() - cpu).Microseconds())
	response.CreateMicros = make([]uint64, len(x.Creates))
	for i, took := range x.Creates {
		response.CreateMicros[i] = uint64(took.Microseconds())
	}
	return response, nil
}

// End implements server.Measuring: it removes what was made. Idempotent; a
// second call waits for the first. A node that closes has a quarter of its time
// for it: the rest is for its logs.
func (m *measuring) End() {
	ctx, cancel := context.WithTimeout(m.n.closing, rpc.MeasuredRemoval)
	defer cancel()
	defer context.AfterFunc(m.n.draining, func() { time.AfterFunc(m.n.cfg.CloseTimeout/4, cancel) })()
	m.end(ctx)
}

func (m *measuring) end(ctx context.Context) {
	m.once.Do(func() {
		if err := m.limit.Remove(ctx, measureConcurrencyMax); err != nil {
			m.n.cfg.Logger.Warn("remove what was made to measure the bucket; the next measurement, or start, of the node does it",
				"prefix", m.n.scratch(), "err", err)
		}
		all := &m.n.measurements
		all.mu.Lock()
		defer all.mu.Unlock()
		all.now = nil
	})
}

// endMeasuring ends what there is when the node closes.
func (n *Node) endMeasuring(ctx context.Context) {
	n.measurements.mu.Lock()
	m := n.measurements.now
	n.measurements.mu.Unlock()
	if m != nil {
		m.end(ctx)
	}
}

func checkMeasure(r *adminv1.MeasureRawRequest) error {
	if r.GetObjectBytes() == 0 || r.GetConcurrency() == 0 || r.GetObjects() == 0 {
		return fmt.Errorf("%w: a measurement of nothing: object bytes, concurrency and objects must be at least 1", api.ErrInvalid)
	}
	for _, x := range []struct {
		what         string
		value, limit uint64
	}{
		{"bytes of an object to measure with", uint64(r.GetObjectBytes()), rawlimit.ObjectBytesMax},
		{"creates at once", uint64(r.GetConcurrency()), measureConcurrencyMax},
		{"objects to measure with", uint64(r.GetObjects()), measureObjectsMax},
		{"bytes to measure with", uint64(r.GetObjectBytes()) * uint64(r.GetObjects()), measureBytesMax},
	} {
		if x.value > x.limit {
			return &api.LimitError{What: x.what, Limit: x.limit, Value: x.value}
		}
	}
	return nil
}
