package offline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
)

// chain is one chain as it was found.
type chain struct {
	epoch   fragment.Epoch
	listed  segment.Listing
	indexes []indexKey // by where they begin, then end
	strays  []string   // keys in its places that no object of ours has

	opening *fragment.Opening // nil if it can't be read
	nonce   fragment.Nonce    // of its boot
	end     uint64            // objects [0, end) are the chain
	sealed  bool              // object end is its seal
	lost    uint64            // the first object at its end that is lost, nothing saying what it held; 0: none
}

// indexKey is the key of an index object, taken apart.
type indexKey struct {
	key      string
	from, to uint64
	sum      uint32
}

// parseIndexKey is the inverse of fragment.IndexKey.
func parseIndexKey(e fragment.Epoch, key string) (indexKey, bool) {
	parts := strings.Split(strings.TrimPrefix(key, fragment.IndexPrefix(e)), "-")
	if len(parts) != 3 {
		return indexKey{}, false
	}
	from, err1 := strconv.ParseUint(parts[0], 16, 64)
	to, err2 := strconv.ParseUint(parts[1], 16, 64)
	sum, err3 := strconv.ParseUint(parts[2], 16, 32)
	k := indexKey{key, from, to, uint32(sum)}
	return k, errors.Join(err1, err2, err3) == nil && from <= to && fragment.IndexKey(e, from, to, k.sum) == key
}

// listChain lists the objects of a chain. Its index objects go first: each was
// written after the objects that it speaks of.
func listChain(ctx context.Context, store segment.Store, e fragment.Epoch) (*chain, error) {
	c := &chain{epoch: e}
	var err error
	if c.indexes, c.strays, err = listIndexes(ctx, store, e); err != nil {
		return nil, err
	}
	if c.listed, err = segment.ListChain(ctx, store, e); err != nil {
		return nil, err
	}
	c.strays = append(c.strays, c.listed.Foreign...)
	return c, nil
}

func listIndexes(ctx context.Context, store segment.Store, e fragment.Epoch) (all []indexKey, strays []string, err error) {
	for key, err := range store.List(ctx, fragment.IndexPrefix(e), "") {
		if err != nil {
			return nil, nil, fmt.Errorf("list indexes of chain %d: %w", uint64(e), err)
		}
		if k, ok := parseIndexKey(e, key); ok {
			all = append(all, k)
		} else {
			strays = append(strays, key)
		}
	}
	slices.SortFunc(all, func(a, b indexKey) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	return all, strays, nil
}

// durable is the highest object that an index says was durable.
func (c *chain) durable() uint64 {
	var to uint64
	for _, k := range c.indexes {
		to = max(to, k.to)
	}
	return max(to, 1) - 1
}

// place is where a log stands on a chain.
type place struct {
	*stand
	chain    *chain
	attached *fragment.Attached // nil if its record is lost
	first    fragment.LSN       // 0 if that is lost
	missing  bool               // something of it may be lost at the chain's end
}

// survey walks the directories of a chain, and finds the logs on it.
func (c *chain) survey(ctx context.Context, b *Bucket, each func(*segment.Scanned)) ([]*place, error) {
	s := &surveyor{places: make(map[fragment.Attachment]*place)}
	g := newLedger(s)
	o := segment.ScanOptions{Durable: c.durable()}
	for x, err := range segment.ScanChain(ctx, b.store, b.segment(c.epoch), c.listed, o) {
		if err != nil {
			return nil, err
		}
		each(x)
		if x.Beyond {
			continue
		}
		c.end = x.N + 1
		if x.Kind == fragment.KindSeal {
			c.end, c.sealed = x.N, true
			continue
		}
		c.describe(x)
		if b.cluster.IsZero() && x.N == 0 {
			b.cluster = x.Head.Cluster
		}
		if err := enter(ctx, b.store, g, x); err != nil {
			return nil, err
		}
		s.see(g, x)
	}
	return s.finish(g, c, c.closing(ctx, b, g)), nil
}

// describe takes in what the first objects of a chain say of it.
func (c *chain) describe(x *segment.Scanned) {
	if x.Directory == nil {
		return
	}
	if x.Directory.Opening != nil {
		c.opening = x.Directory.Opening
	}
	if c.nonce == (fragment.Nonce{}) && (x.Kind == fragment.KindOpening || x.Kind == fragment.KindFragment) {
		c.nonce = x.Head.Nonce
	}
}

// enter takes one object of a chain into a ledger.
func enter(ctx context.Context, store segment.Store, g *ledger, x *segment.Scanned) error {
	e, _, err := fragment.ParseChainKey(x.Key)
	switch {
	case err != nil:
		return err
	case x.Damage != nil && (x.N == 0 || x.Kind == fragment.KindOpening):
		g.damage(x, x.Damage, true) // an opening holds nothing of a log
	case x.Damage != nil:
		l := g.damage(x, x.Damage, false)
		_, misplaced := errors.AsType[*segment.MisplacedError](x.Damage)
		if misplaced || x.Kind == fragment.KindGap || !errors.Is(x.Damage, fragment.ErrCorrupt) {
			return nil
		}
		saved, err := segment.Salvage(ctx, store, e, x.N, g.logOf)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		g.salvaged(x, saved, l)
	case x.Kind == fragment.KindGap:
		g.damage(x, &segment.LostError{Object: x.Key, Epoch: e, N: x.N}, false)
	case x.Kind == fragment.KindFragment:
		contents := x.Contents
		if contents == nil {
			for _, s := range x.Directory.Slices {
				contents = append(contents, segment.Content{Slice: s})
			}
		}
		g.good(x, contents)
	}
	return nil
}

// closing returns the index that says where the logs stand at the end of the
// chain, if something is missing there; nil otherwise, or if there is none.
func (c *chain) closing(ctx context.Context, b *Bucket, g *ledger) *fragment.Index {
	if len(g.losses) == 0 {
		return nil
	}
	last := g.losses[len(g.losses)-1]
	for _, k := range slices.Backward(c.indexes) {
		if k.to < last.n+last.count {
			continue
		}
		if x, _, err := readIndex(ctx, b.store, b.segment(c.epoch), k); err == nil {
			return x
		}
	}
	return nil
}

// readIndex reads an index object and checks it against its key.
func readIndex(ctx context.Context, store segment.Store, c segment.Chain, k indexKey) (x *fragment.Index, size int64, err error) {
	b, size, err := store.ReadRange(ctx, k.key, 0, fragment.ObjectBytesMax+1)
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", k.key, err)
	}
	f, err := fragment.Decode(b)
	if err != nil {
		return nil, size, fragment.At(err, k.key, 0)
	}
	x = f.Directory.Index
	switch h := f.Head; {
	case h.Kind != fragment.KindIndex || h.Epoch != c.Epoch || x.From != k.from || x.To != k.to ||
		!c.Cluster.IsZero() && h.Cluster != c.Cluster:
		return nil, size, &segment.MisplacedError{Object: k.key, Kind: h.Kind, Epoch: h.Epoch, N: h.N, Cluster: h.Cluster}
	case fragment.Checksum(b) != k.sum:
		return nil, size, &fragment.CorruptError{Object: k.key, Reason: fmt.Sprintf("its key ends in the checksum of other bytes; these have %08x", fragment.Checksum(b))}
	}
	return x, size, nil
}
