package segment

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/wpd-io/wpd/fragment"
)

// Chain says which chain is meant, and who writes it.
type Chain struct {
	Cluster     fragment.ClusterID
	Incarnation uint64
	Epoch       fragment.Epoch
	Node        string // identity of its writer
	Boot        uint64
	Nonce       fragment.Nonce // of the boot
	Window      uint64         // W: how many creates may be in flight; 0 counts as 1
}

// Ref names an index object.
type Ref struct {
	Key      string
	Size     uint64
	Checksum uint32
}

// Cut is a segment: objects [From, To) of a chain, with their index.
type Cut struct {
	From, To uint64
	Index    Ref
}

// Options set up a Writer. The zero value of each field means its default.
type Options struct {
	// FragmentBytes is the size at which a fragment is full; default 8 MiB,
	// at most that.
	FragmentBytes int
	// FlushInterval, if not 0, flushes at most once per interval (and
	// whenever a fragment is full), which saves request cost at the price of
	// latency. 0 flushes as soon as it pays.
	FlushInterval time.Duration
	// Room bounds, in bytes, what is not durable yet of all writers that share
	// it; any batch must fit. nil: one of (Window + 4) × FragmentBytes, and at
	// least 24 MiB, for this writer alone.
	Room *semaphore.Weighted
	// Lease says whether this writer may start a fragment: while it says no,
	// what comes waits, and what is in flight goes on. When it says yes again,
	// somebody must call Wake. It must not block, nor call the Writer. nil:
	// always yes.
	Lease func() bool
	// A segment is cut at the first of these: default 1 GiB, 10 minutes,
	// 4,096 fragments, 262,144 slices (which bounds its index object).
	CutBytes     int64
	CutAge       time.Duration
	CutFragments uint64
	CutSlices    int

	// Durable is called for every fragment once it, and all before it, are
	// durable, in order, before its waiters are settled. May be nil.
	Durable func(f *fragment.Frozen)
	// Commit makes a cut part of the metadata. nil: no cuts are made.
	Commit func(ctx context.Context, c Cut) error
	// Merge puts a cut in the place of those in the metadata that cover its
	// range exactly. The same again must do no harm. nil: cuts are not merged.
	Merge func(ctx context.Context, c Cut) error
	// MergeBytes bounds the index object of a merged cut; default 2 MiB.
	MergeBytes int
	// Applied is the raft index that this node has applied. nil: 0.
	Applied func() uint64
	// Over is called once, from a goroutine of its own, when the chain ends
	// other than by Close. May be nil.
	Over func(err error)

	Cache   *Cache // what was just written goes in here; nil: nowhere
	Logger  *slog.Logger
	Metrics *Metrics
}

// valid returns the chain with what it lacks.
func (c Chain) valid() Chain {
	c.Window = max(c.Window, 1)
	return c
}

func (o Options) withDefaults(c Chain) Options {
	def := func(have, want int64) int64 {
		if have <= 0 {
			return want
		}
		return have
	}
	o.FragmentBytes = min(int(def(int64(o.FragmentBytes), fragment.FragmentBytes)), fragment.FragmentBytes)
	o.CutBytes = def(o.CutBytes, 1<<30)
	o.CutAge = time.Duration(def(int64(o.CutAge), int64(10*time.Minute)))
	o.CutFragments = uint64(def(int64(o.CutFragments), 4096))
	o.CutSlices = int(def(int64(o.CutSlices), 1<<18))
	o.MergeBytes = int(def(int64(o.MergeBytes), mergeBytesDefault))
	if o.Room == nil {
		o.Room = semaphore.NewWeighted(max(int64(c.Window+4)*int64(o.FragmentBytes), 3*fragment.FragmentBytes))
	}
	if o.Lease == nil {
		o.Lease = func() bool { return true }
	}
	if o.Applied == nil {
		o.Applied = func() uint64 { return 0 }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	return o
}
