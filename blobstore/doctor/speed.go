package doctor

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/rawlimit"
)

// parallel is how many requests of large objects are in flight, where it is not
// one: a node's window, by default.
const parallel = 8

// Speed is what was measured of one kind of request.
type Speed struct {
	Request     string   `json:"request"` // put or get
	Bytes       int      `json:"bytes"`   // of an object
	Concurrency int      `json:"concurrency"`
	Requests    int      `json:"requests"`
	MBPerS      float64  `json:"mb_per_s"` // of all together; a MB is a million bytes
	P50         float64  `json:"p50_us"`
	P90         float64  `json:"p90_us"`
	P99         float64  `json:"p99_us"`
	Max         float64  `json:"max_us"`
	Histogram   []Bucket `json:"histogram"`
}

// Bucket counts requests that took longer than the one before it says, and no
// longer than UpTo. The bounds are 1, 2 and 5 times powers of ten.
type Bucket struct {
	UpTo  time.Duration `json:"up_to_ns"`
	Count int           `json:"count"`
}

// run is one measurement: creates, and reads of what they made.
type run struct {
	bytes, concurrency, objectsMax int
}

// speeds measures the store. What fails ends it: whether the store works, others
// find out.
func (x *exam) speeds(ctx context.Context) {
	if x.opts.SpeedTime < 0 {
		return
	}
	for i, r := range []run{{smallBytes, 1, 2000}, {smallBytes, parallel, 4000}, {x.opts.large, 1, 16}, {x.opts.large, parallel, 48}} {
		x.opts.Progress("measure requests of "+fmt.Sprint(r.bytes)+" bytes", i, 4)
		prefix := fmt.Sprintf("%sspeed-%d/", x.prefix, i)
		limit := rawlimit.New(x.bucket, prefix, uint64(i))
		put, err := limit.Run(ctx, rawlimit.Run{
			ObjectBytes: r.bytes, Concurrency: r.concurrency, Objects: r.objectsMax, ObjectsMin: 2 * r.concurrency, For: x.opts.SpeedTime,
		})
		if err == nil {
			x.report.Speeds = append(x.report.Speeds, speedOf("put", r, put.Creates, put.Took))
			err = x.gets(ctx, r, prefix)
		}
		rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		_ = limit.Remove(rctx, manyAtOnce) // at the end all that is left is looked for once more
		cancel()
		if err != nil {
			return
		}
	}
}

// gets reads what was made, each object once or, where they are few, more often.
func (x *exam) gets(ctx context.Context, r run, prefix string) error {
	keys, err := x.list(ctx, prefix, "")
	if err != nil || len(keys) == 0 {
		return err
	}
	var next atomic.Int64
	var mu sync.Mutex
	var times []time.Duration
	start := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for range r.concurrency {
		g.Go(func() error {
			for {
				n := int(next.Add(1)) - 1
				if n >= max(len(keys), 4*r.concurrency) || n >= 2*r.concurrency && time.Since(start) >= x.opts.SpeedTime {
					return nil
				}
				at := time.Now()
				if _, _, err := x.bucket.ReadRange(gctx, keys[n%len(keys)], 0, math.MaxInt64); err != nil {
					return err
				}
				took := time.Since(at)
				mu.Lock()
				times = append(times, took)
				mu.Unlock()
			}
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	x.report.Speeds = append(x.report.Speeds, speedOf("get", r, times, time.Since(start)))
	return nil
}

func speedOf(request string, r run, times []time.Duration, took time.Duration) Speed {
	slices.Sort(times)
	n := len(times)
	at := func(q float64) float64 { // the smallest time that a share q did not exceed
		return float64(times[max(int(math.Ceil(q*float64(n)))-1, 0)].Nanoseconds()) / 1e3
	}
	return Speed{
		Request: request, Bytes: r.bytes, Concurrency: r.concurrency, Requests: n,
		MBPerS: math.Round(float64(n)*float64(r.bytes)/1e4/max(took.Seconds(), 1e-9)) / 100,
		P50:    at(0.5), P90: at(0.9), P99: at(0.99), Max: at(1), Histogram: histogram(times),
	}
}

// histogram counts sorted times, from the first bucket with one to the last.
func histogram(times []time.Duration) []Bucket {
	var buckets []Bucket
	i := 0
	for decade := time.Microsecond; i < len(times); decade *= 10 {
		for _, m := range []time.Duration{1, 2, 5} {
			b := Bucket{UpTo: m * decade}
			for i < len(times) && times[i] <= b.UpTo {
				b.Count++
				i++
			}
			if b.Count > 0 || len(buckets) > 0 && i < len(times) {
				buckets = append(buckets, b)
			}
		}
	}
	return buckets
}

// clockOf asks the bucket; nil: it can't tell.
func clockOf(b *blobstore.Bucket) *Clock {
	least, most, ok := b.ClockOffset()
	if !ok {
		return nil
	}
	return &Clock{least, most}
}
