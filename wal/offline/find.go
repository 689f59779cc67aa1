package offline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
)

// Finder finds out what chains hold, for who makes metadata anew. It remembers
// what it found of a sealed chain, which stays as it is; so it may look again
// and again, as others seal. Not safe for concurrent use.
type Finder struct {
	bucket *Bucket
	opts   Options
	known  map[fragment.Epoch]*FoundChain // sealed ones
}

// FoundChain is what a chain is, and what is on it.
type FoundChain struct {
	Epoch   fragment.Epoch
	Opening *fragment.Opening // nil: it was never made, or can't be read
	Nonce   fragment.Nonce    // of the boot that wrote it; zero if no object tells
	// Incarnation and Time are those of its first object that can be read; zero:
	// none can.
	Incarnation uint64
	Time        fragment.Micros
	// Highest is the highest incarnation that any object of its writer tells of,
	// and Applied the highest raft index of that.
	Highest, Applied uint64
	Objects          uint64      // that were listed, also those beyond its end
	End              uint64      // objects [0, End) are the chain
	Sealed           bool        // object End is its seal
	Durable          uint64      // objects up to this one were durable, an index says; 0: none does
	Stays            []FoundStay // by attachment

	indexes []indexKey
}

// Written says that its writer left anything there.
func (x *FoundChain) Written() bool { return x.Opening != nil || x.Incarnation != 0 || x.End > 1 }

// FoundStay is one stay of a log on a chain, of which there is something.
type FoundStay struct {
	Log        fragment.LogID
	Attachment fragment.Attachment
	Epoch      fragment.Epoch
	Attached   *fragment.Attached // nil if its record is lost
	First      fragment.LSN       // where it begins; 0 if that is lost
	End        fragment.LSN       // after the last entry that is known
	Generation fragment.Generation
	Missing    bool // more of it may be lost, at the end of the chain
}

// NewFinder makes one for a bucket. Errors: whatever keeps the store from
// answering; fragment.ErrCorrupt and fs.ErrNotExist, of cluster.json.
func NewFinder(ctx context.Context, store segment.Store, o Options) (*Finder, error) {
	b := &Bucket{store: store}
	if b.cluster, b.clusterErr = readCluster(ctx, store); b.clusterErr != nil {
		return nil, b.clusterErr
	}
	return &Finder{bucket: b, opts: o, known: make(map[fragment.Epoch]*FoundChain)}, nil
}

// Epochs lists the chains of which there is any object, the lowest first.
func (f *Finder) Epochs(ctx context.Context) ([]fragment.Epoch, error) { return f.bucket.epochs(ctx) }

// Find looks at chains, and returns what it found in the order of their epochs.
// It reads the directory of every object, and of each stay one slice.
func (f *Finder) Find(ctx context.Context, epochs []fragment.Epoch) (all []*FoundChain, err error) {
	var p Progress
	todo := make(map[fragment.Epoch]*chain)
	for _, e := range epochs {
		if f.known[e] != nil {
			continue
		}
		if todo[e], err = listChain(ctx, f.bucket.store, e); err != nil {
			return nil, err
		}
		p.Of += todo[e].listed.Len()
	}
	for _, e := range epochs {
		x := f.known[e]
		if c := todo[e]; x == nil {
			if x, err = f.find(ctx, c, &p); err != nil {
				return nil, fmt.Errorf("look at chain %d: %w", uint64(e), err)
			}
			if x.Sealed {
				f.known[e] = x
			}
		}
		all = append(all, x)
	}
	f.opts.tell(p)
	return all, nil
}

func (f *Finder) find(ctx context.Context, c *chain, p *Progress) (*FoundChain, error) {
	x := &FoundChain{Epoch: c.epoch, Objects: c.listed.Len(), Durable: c.durable()}
	latest := make(map[fragment.Attachment]uint64) // the last object that holds a slice of it
	places, err := c.survey(ctx, f.bucket, func(o *segment.Scanned) {
		if p.Objects++; p.Objects%progressEvery == 0 {
			f.opts.tell(*p)
		}
		if o.Damage != nil || o.Kind != fragment.KindOpening && o.Kind != fragment.KindFragment {
			return // a seal or a gap tells of who put it there
		}
		h := o.Head
		if x.Incarnation == 0 {
			x.Incarnation, x.Time = h.Incarnation, h.Time
		}
		if h.Incarnation > x.Highest {
			x.Highest, x.Applied = h.Incarnation, 0
		}
		if h.Incarnation == x.Highest {
			x.Applied = max(x.Applied, h.Applied)
		}
		if !o.Beyond && o.Kind == fragment.KindFragment {
			for _, s := range o.Directory.Slices {
				latest[s.Attachment] = o.N
			}
		}
	})
	if err != nil {
		return nil, err
	}
	x.Opening, x.Nonce, x.End, x.Sealed, x.indexes = c.opening, c.nonce, c.end, c.sealed, c.indexes
	for _, at := range places {
		s := FoundStay{
			Log: at.log, Attachment: at.attachment, Epoch: c.epoch, Attached: at.attached,
			First: at.first, End: max(at.first, at.next), Missing: at.missing,
		}
		if at.attached != nil {
			s.Generation = at.attached.Generation
		}
		if n := latest[s.Attachment]; n > 0 {
			g, err := f.generation(ctx, s, n)
			if err != nil {
				return nil, err
			}
			s.Generation = max(s.Generation, g)
		}
		x.Stays = append(x.Stays, s)
	}
	slices.SortFunc(x.Stays, func(a, b FoundStay) int { return cmp.Compare(a.Attachment, b.Attachment) })
	return x, nil
}

// generation is that of the last batch of a stay, which is in object n: it never
// falls, and no directory tells it.
func (f *Finder) generation(ctx context.Context, s FoundStay, n uint64) (g fragment.Generation, err error) {
	o := segment.ScanOptions{Only: segment.Stay{Log: s.Log, Attachment: s.Attachment}}
	for x, err := range segment.ScanRange(ctx, f.bucket.store, f.bucket.segment(s.Epoch), n, n+1, o) {
		if err != nil {
			return 0, err
		}
		for _, c := range x.Contents {
			for _, b := range c.Batches {
				g = max(g, b.Generation())
			}
		}
	}
	return g, nil
}

// Cuts returns index objects of a chain that follow each other from an object
// on, can be read, and end below the chain's end: the seal's own is not among
// them. Whether they were committed is nothing to go by: each tells what its
// objects hold.
func (f *Finder) Cuts(ctx context.Context, x *FoundChain, from uint64) (cuts []segment.Cut, err error) {
	for next, more := from, true; more; {
		more = false
		for _, k := range slices.Backward(x.indexes) { // the longest first
			if k.from != next || k.to <= next || k.to >= x.End {
				continue
			}
			_, size, err := readIndex(ctx, f.bucket.store, f.bucket.segment(x.Epoch), k)
			if errors.Is(err, fragment.ErrCorrupt) || errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			cuts = append(cuts, segment.Cut{From: k.from, To: k.to, Index: segment.Ref{Key: k.key, Size: uint64(size), Checksum: k.sum}})
			next, more = k.to, true
			break
		}
	}
	return cuts, nil
}
