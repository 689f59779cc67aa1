package blobstore

import (
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options configures a [Bucket]. The zero value is ready to use.
type Options struct {
	// RequestTimeout is the deadline of one attempt, and of one step of a
	// listing. Zero means 15 s. An attempt that follows one that ran out of
	// time gets that much more, up to four times: on a slow line a deadline
	// that 8 MiB cannot meet would never be met. A caller's earlier deadline
	// wins.
	RequestTimeout time.Duration

	// MaxAttempts is how often a read, a delete or a step of a listing is
	// tried. Zero means 4. Creates are tried until their context ends.
	MaxAttempts int

	// BackoffMin is the longest wait before the first retry; it doubles with
	// each further one up to BackoffMax. The wait is drawn evenly from the
	// upper half of that. Zero means 25 ms and 2 s. A BackoffMax below
	// BackoffMin counts as BackoffMin.
	BackoffMin, BackoffMax time.Duration

	// HedgePercent is how many of a hundred creates may be sent a second time,
	// because the first request takes longer than 95 % of the recent ones of
	// about that size (with 1 to 4, than 99 to 96 %); 1 to 100. That shortens
	// the rare long waits of stores that are fast mostly, and costs at most
	// that many more requests. Zero means none.
	HedgePercent int

	// Jitter returns numbers in [0, 1) and may be called at any time by
	// several goroutines. Nil means math/rand/v2.
	Jitter func() float64

	// Logger is told of creates that keep failing, of objects of a probe that
	// could not be removed, and what S3's SDK has to say. Nil means silence.
	Logger *slog.Logger

	// Registerer gets the metrics. Nil means that they are counted for
	// nobody. Buckets that share one share their metrics.
	Registerer prometheus.Registerer
}

// withDefaults fills what is zero.
func (o Options) withDefaults() Options {
	if o.RequestTimeout <= 0 {
		o.RequestTimeout = 15 * time.Second
	}
	if o.MaxAttempts <= 0 {
		o.MaxAttempts = 4
	}
	if o.BackoffMin <= 0 {
		o.BackoffMin = 25 * time.Millisecond
	}
	if o.BackoffMax <= 0 {
		o.BackoffMax = 2 * time.Second
	}
	o.BackoffMax = max(o.BackoffMax, o.BackoffMin)
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}
