package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore/rawlimit"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/wal/api"
)

// benchAdmin is what a benchmark asks a server for.
type benchAdmin interface {
	Status(ctx context.Context) (*adminv1.GetStatusResponse, error)
	MeasureRaw(ctx context.Context) (measuring, error)
	Close() error
}

// measuring is measurements of a server's bucket. What they make stays there
// until Close, so that each of them takes fresh room, as logs do.
type measuring interface {
	Measure(ctx context.Context, r *adminv1.MeasureRawRequest) (*adminv1.MeasureRawResponse, error)
	Close() error
}

// remote is a server, or several of one cluster, as a benchPlace.
type remote struct {
	cfg   *benchConfig
	dial  func(ctx context.Context) (*wpd.Client, error)
	admin benchAdmin
	nodes []benchAdmin // of several, at each address; empty: there is only admin

	conn  *wpd.Client // nil while there is none
	raw   measuring   // nil while there is none
	noRaw string      // why the server measures nothing; "": it does
}

func openRemote(ctx context.Context, c *benchConfig, dial func(ctx context.Context) (*wpd.Client, error), admin benchAdmin) (*remote, error) {
	r := &remote{cfg: c, dial: dial, admin: admin}
	var err error
	if r.conn, err = dial(ctx); err != nil {
		return nil, errors.Join(err, admin.Close())
	}
	return r, nil
}

func (r *remote) client() *wpd.Client { return r.conn }

func (r *remote) reopen(ctx context.Context) error {
	old := r.conn
	r.conn = nil
	if err := old.Close(); err != nil {
		return err
	}
	var err error
	r.conn, err = r.dial(ctx)
	return err
}

// usage sums up what the servers have used; memory is that of the one that has
// most.
func (r *remote) usage(ctx context.Context) (sum nodeUsage, err error) {
	nodes := r.nodes
	if len(nodes) == 0 {
		nodes = []benchAdmin{r.admin}
	}
	seen := map[string]bool{} // one may have several addresses
	for _, n := range nodes {
		status, err := n.Status(ctx)
		if err != nil {
			return nodeUsage{}, fmt.Errorf("status of the server: %w", err)
		}
		if id := status.GetIdentity(); !seen[id] {
			seen[id] = true
			s := status.GetStats()
			sum.cpu += time.Duration(s.GetCpuMicros()) * time.Microsecond
			sum.creates += s.GetCreates()
			sum.rss = max(sum.rss, int64(s.GetRssPeakBytes()))
		}
	}
	return sum, nil
}

// resetPeak does nothing: a server's peak is that of its whole life.
func (r *remote) resetPeak() {}

func (r *remote) shared() bool { return false }

const (
	// A server measures so many objects, and so many bytes, at a time.
	rawObjectsMax = 4096
	rawBytesMax   = 4 << 30
)

func (r *remote) rawCreates(ctx context.Context, bytes int64, smallFor time.Duration) (*rawPart, error) {
	window := int64(r.cfg.window())
	p := &rawPart{}
	left := max(2*window, (bytes+rawlimit.ObjectBytesMax-1)/rawlimit.ObjectBytesMax)
	for left > 0 {
		n := min(left, rawObjectsMax, rawBytesMax/rawlimit.ObjectBytesMax)
		got, err := r.measure(ctx, rawlimit.ObjectBytesMax, window, n)
		if err != nil {
			return nil, err
		}
		if r.noRaw != "" {
			return &rawPart{small: newLatencies(), missing: r.noRaw}, nil
		}
		p.took += time.Duration(got.GetElapsedMicros()) * time.Microsecond
		p.cpu += time.Duration(got.GetCpuMicros()) * time.Microsecond
		p.bytes += n * rawlimit.ObjectBytesMax
		p.removed += int64(got.GetRemovedBytes())
		left -= n
	}
	return r.rawSmall(ctx, p, smallFor)
}

// rawReads measures small creates only: a server has no raw reads.
func (r *remote) rawReads(ctx context.Context, smallFor time.Duration) (*rawPart, error) {
	p, err := r.rawSmall(ctx, &rawPart{}, smallFor)
	if err == nil && p.missing == "" {
		p.missing = "a server measures creates, not reads"
	}
	return p, err
}

// rawSmall adds to p the times of small creates: so many as fit into a while.
// How many those are, the first few tell.
func (r *remote) rawSmall(ctx context.Context, p *rawPart, d time.Duration) (*rawPart, error) {
	p.small = newLatencies()
	var took time.Duration
	for n := int64(smallMin); n > 0; {
		got, err := r.measure(ctx, r.cfg.smallBytes(), 1, n)
		if err != nil {
			return nil, err
		}
		if r.noRaw != "" {
			p.missing = r.noRaw
			return p, nil
		}
		for _, us := range got.GetCreateMicros() {
			record(p.small, int64(us)*int64(time.Microsecond))
		}
		p.removed += int64(got.GetRemovedBytes())
		took += max(time.Duration(got.GetElapsedMicros())*time.Microsecond, time.Microsecond)
		count := p.small.TotalCount()
		if n = min(int64(float64(d-took)/float64(took)*float64(count)), smallMax-count); count == 0 || n < smallMin {
			break
		}
	}
	return p, nil
}

// measure lets the server create objects. Where it will not, an empty answer
// is returned, and noRaw says why from then on; the benchmark goes on.
func (r *remote) measure(ctx context.Context, bytes int, concurrency, objects int64) (*adminv1.MeasureRawResponse, error) {
	if r.noRaw != "" {
		return &adminv1.MeasureRawResponse{}, nil
	}
	got, err := r.ask(ctx, &adminv1.MeasureRawRequest{
		ObjectBytes: uint32(bytes), Concurrency: uint32(concurrency), Objects: uint32(objects),
	})
	if errors.Is(err, api.ErrForbidden) {
		r.noRaw = err.Error()
		return &adminv1.MeasureRawResponse{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("raw limit, measured by the server: %w", err)
	}
	return got, nil
}

func (r *remote) ask(ctx context.Context, q *adminv1.MeasureRawRequest) (_ *adminv1.MeasureRawResponse, err error) {
	if r.raw == nil {
		if r.raw, err = r.admin.MeasureRaw(ctx); err != nil {
			return nil, err
		}
	}
	return r.raw.Measure(ctx, q)
}

// discard deletes the logs, so that benches leave nothing on a server.
func (r *remote) discard(ctx context.Context, logs []*wpd.Log) error {
	if r.cfg.keep || r.conn == nil {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, log := range logs {
		if log == nil {
			continue // an interrupt came before it was made
		}
		g.Go(func() error {
			if err := r.conn.Delete(ctx, log.Name()); err != nil && !errors.Is(err, wpd.ErrNotFound) {
				return fmt.Errorf("delete log %s: %w", log.Name(), err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (r *remote) close(context.Context) error {
	var errs []error
	if r.raw != nil {
		errs = append(errs, r.raw.Close())
	}
	if r.conn != nil {
		errs = append(errs, r.conn.Close())
	}
	for _, n := range r.nodes {
		errs = append(errs, n.Close())
	}
	return errors.Join(append(errs, r.admin.Close())...)
}
