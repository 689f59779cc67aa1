package wal

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
)

// Config is what a Service works with. Zero fields mean their defaults.
type Config struct {
	Store    segment.Store
	Meta     Meta
	Identity Identity
	Peers    Peers // nil: this node is alone

	// Admit says why no batch may be taken now, as an error of wal/api; its nil:
	// any may. It is asked about each, and must not wait. Unset: any may, always.
	Admit func() error
	// Window (W) is how many fragments may be in flight, 1 to 64; default 8.
	// More is worth it on a store with latency: throughput is W ×
	// FragmentBytes ÷ latency.
	Window uint32
	// FragmentBytes is the size at which a fragment is full, 64 KiB to 8 MiB;
	// default 8 MiB.
	FragmentBytes int
	// FlushInterval saves request cost at the price of latency: a fragment
	// that is not full is flushed only when this has passed since the last.
	// Default 0: as soon as it pays.
	FlushInterval time.Duration
	// BufferBytes bounds what is taken but not durable, of all chains
	// together; appenders wait beyond it. Default (Window + 4) ×
	// FragmentBytes, at least 24 MiB.
	BufferBytes int64
	// ChainsMax bounds the chains of logs that have one of their own; each
	// may have Window fragments in flight. Default 64, at least 1.
	ChainsMax int
	// ChainIdle is after how long without an append such a log gives its chain
	// back, until it is used again; default 1 h.
	ChainIdle time.Duration
	// CacheBytes bounds the cache of fragments; default 96 MiB, negative: no
	// cache.
	CacheBytes int64
	// PrefetchBytes bounds what one reader has fetched ahead; default 32 MiB.
	PrefetchBytes int64
	// PrefetchNodeBytes bounds what all readers of the node together have
	// fetched ahead; beyond it, a reader gets only what it needs next. Default
	// 64 MiB.
	PrefetchNodeBytes int64
	// CutBytes, CutAge and CutFragments say when a segment is cut; default
	// 1 GiB, 10 minutes, 4,096 fragments.
	CutBytes     int64
	CutAge       time.Duration
	CutFragments uint64
	// NamedProducersMax bounds the named producers of one log, which are
	// never dropped; default 1,024. AnonymousProducersMax bounds the others,
	// which are dropped after 10 idle minutes; default 4,096.
	NamedProducersMax     int
	AnonymousProducersMax int
	// ScrubBytesPerSec is how many bytes a second the node reads of the bucket to
	// find damage before a reader does, one object at a time; a request counts as
	// 256 KiB at least. Default 8 MiB/s, at which 1 TB takes a day and a half;
	// negative: the bucket is not scrubbed.
	ScrubBytesPerSec int64
	// ScrubInterval is from the beginning of one pass over the bucket to that of
	// the next, at least; default 24 h. The first begins after it, or 10 minutes.
	ScrubInterval time.Duration

	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: metrics are not exported
}

// WithDefaults returns the configuration with what is zero filled in.
func (c Config) WithDefaults() Config {
	c.Window = cmp.Or(c.Window, 8)
	c.FragmentBytes = cmp.Or(c.FragmentBytes, fragment.FragmentBytes)
	c.BufferBytes = cmp.Or(c.BufferBytes, max(int64(c.Window+4)*int64(c.FragmentBytes), bufferBytesMin))
	c.ChainsMax = cmp.Or(c.ChainsMax, 64)
	c.ChainIdle = cmp.Or(c.ChainIdle, time.Hour)
	c.CacheBytes = cmp.Or(c.CacheBytes, 96<<20)
	c.PrefetchBytes = cmp.Or(c.PrefetchBytes, 32<<20)
	c.PrefetchNodeBytes = cmp.Or(c.PrefetchNodeBytes, 64<<20)
	c.CutBytes = cmp.Or(c.CutBytes, 1<<30)
	c.CutAge = cmp.Or(c.CutAge, 10*time.Minute)
	c.CutFragments = cmp.Or(c.CutFragments, 4096)
	c.NamedProducersMax = cmp.Or(c.NamedProducersMax, 1024)
	c.AnonymousProducersMax = cmp.Or(c.AnonymousProducersMax, 4096)
	c.ScrubBytesPerSec = cmp.Or(c.ScrubBytesPerSec, 8<<20)
	c.ScrubInterval = cmp.Or(c.ScrubInterval, 24*time.Hour)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c *Config) validate() error {
	if c.Store == nil || c.Meta == nil {
		return errors.New("wal: no store, or no metadata")
	}
	*c = c.WithDefaults()
	switch {
	case c.Window > 64:
		return fmt.Errorf("wal: window %d, want 1 to 64", c.Window)
	case c.FragmentBytes < 64<<10 || c.FragmentBytes > fragment.FragmentBytes:
		return fmt.Errorf("wal: fragment size of %d bytes, want %d to %d", c.FragmentBytes, 64<<10, fragment.FragmentBytes)
	case c.FlushInterval < 0 || c.BufferBytes < 0 || c.CutBytes < 0 || c.CutAge < 0 || c.ChainsMax < 0 || c.ChainIdle < 0 || c.PrefetchBytes < 0 || c.PrefetchNodeBytes < 0 || c.NamedProducersMax < 0 || c.AnonymousProducersMax < 0 || c.ScrubInterval < 0:
		return errors.New("wal: a size, a count or a time is negative")
	}
	return nil
}
