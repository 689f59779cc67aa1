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
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/wal/api"
	"github.com/wpd-io/wpd/wal/offline"
)

// errand is the one long piece of work over the whole bucket that a node does
// at a time: two would only measure, or slow, each other.
type errand struct {
	mu    sync.Mutex
	what  string        // "" while there is none
	ended chan struct{} // of the last that was begun; nil before
}

// beginErrand begins one, which ends with ctx or when the node closes. done
// must be called.
func (n *Node) beginErrand(ctx context.Context, what string) (_ context.Context, done func(), err error) {
	n.errand.mu.Lock()
	defer n.errand.mu.Unlock()
	switch {
	case n.isDraining():
		return nil, nil, api.ErrClosed
	case n.errand.what != "":
		return nil, nil, &api.BusyError{What: "the node is busy: " + n.errand.what, RetryAfter: time.Second}
	}
	ended := make(chan struct{})
	n.errand.what, n.errand.ended = what, ended
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(n.draining, func() { cancel(api.ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		n.errand.mu.Lock()
		defer n.errand.mu.Unlock()
		n.errand.what = ""
		close(ended)
	}, nil
}

// closeErrand waits for the end of what was begun, as long as ctx allows.
func (n *Node) closeErrand(ctx context.Context) {
	n.errand.mu.Lock()
	ended := n.errand.ended
	n.errand.mu.Unlock()
	if ended == nil {
		return
	}
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// Verify reads the whole bucket, and returns its report as "wpd verify -o json"
// prints it. progress is called now and then. Errors: *api.BusyError, and
// api.ErrUnavailable if the store does not answer.
func (n *Node) Verify(ctx context.Context, progress func(objects, bytes uint64)) ([]byte, error) {
	ctx, done, err := n.beginErrand(ctx, "somebody verifies the bucket")
	if err != nil {
		return nil, err
	}
	defer done()
	start := time.Now()
	r, err := offline.Verify(ctx, n.store, offline.VerifyOptions{Options: offline.Options{
		Progress: func(p offline.Progress) { progress(p.Objects, p.Bytes) },
	}})
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	return r.JSON(time.Since(start))
}

// unavailable is what a caller is told if an errand did not end.
func unavailable(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
}

// What MeasureRaw takes on at most.
const (
	measureConcurrencyMax = 64
	measureObjectsMax     = 4096
	measureBytesMax       = 4 << 30
	// measureCleanup bounds the removal of what was made.
	measureCleanup = 10 * time.Second
)

// MeasureRaw measures what the bucket can do without the node: it creates
// objects under a scratch prefix, and removes them. Errors: api.ErrForbidden,
// *api.LimitError, api.ErrInvalid, *api.BusyError, api.ErrUnavailable.
func (n *Node) MeasureRaw(ctx context.Context, r *adminv1.MeasureRawRequest) (*adminv1.MeasureRawResponse, error) {
	if !n.cfg.AllowBench {
		return nil, fmt.Errorf("%w: this node measures its bucket for nobody: wpd serve does with --allow-bench, wpd dev always", api.ErrForbidden)
	}
	if err := checkMeasure(r); err != nil {
		return nil, err
	}
	ctx, done, err := n.beginErrand(ctx, "somebody measures the bucket")
	if err != nil {
		return nil, err
	}
	defer done()
	// No directory of its own: on a file system, an empty one would stay.
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	prefix := rawlimit.ScratchPrefix + hex.EncodeToString(id[:]) + "-"
	limit := rawlimit.New(n.store, prefix, 1)
	defer func() {
		ctx, cancel := context.WithTimeout(n.closing, measureCleanup)
		defer cancel()
		if err := limit.Remove(ctx, measureConcurrencyMax); err != nil {
			n.cfg.Logger.Warn("remove what was made to measure the bucket; it may be deleted by hand", "prefix", prefix, "err", err)
		}
	}()
	cpu := process.CPU()
	m, err := limit.Run(ctx, rawlimit.Run{ObjectBytes: int(r.GetObjectBytes()), Concurrency: int(r.GetConcurrency()), Objects: int(r.GetObjects())})
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	response := &adminv1.MeasureRawResponse{
		ElapsedMicros: uint64(m.Took.Microseconds()), CpuMicros: uint64((process.CPU() - cpu).Microseconds()),
		CreateMicros: make([]uint64, len(m.Creates)),
	}
	for i, took := range m.Creates {
		response.CreateMicros[i] = uint64(took.Microseconds())
	}
	return response, nil
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
