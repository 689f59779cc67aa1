package wal

import (
	"cmp"
	"context"
	"slices"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/segment"
	"github.com/wpd-io/wpd/wal/offline"
)

// visit is a look at a chain, or at a part of it, segment by segment. Each is
// looked up in the metadata when its turn comes: meanwhile cuts may have been
// merged, and the chain been sealed.
type visit struct {
	x      *scrubber
	epoch  fragment.Epoch
	at, to uint64          // objects [at, to) are left, and the rest of the last one's segment
	before *fragment.Index // that ends with at; nil: not known
	after  *fragment.Index // of the segment that at lies in; nil: not known
	seen   segment.Ref     // the index that was read last, or can't be
	listed bool            // the chain was listed, or can't be
}

// stretch is a segment, or what is open of a chain: what the metadata, and the
// chain's writer, say is there.
type stretch struct {
	from, to uint64 // objects [from, to), the seal included
	sealed   bool
	index    *segment.Ref // nil: it has none yet
}

// left says whether there is anything left to look at.
func (v *visit) left() bool { return v.at < v.to || !v.listed }

// step looks at the next segment, or, behind the last, for keys that are nobody's.
// After an error it may be called again.
func (v *visit) step(ctx context.Context) error {
	c, t, ok := v.next()
	if !ok {
		return v.strays(ctx)
	}
	return v.check(ctx, c, t)
}

// skip leaves out what step can't read.
func (v *visit) skip() {
	_, t, ok := v.next()
	switch {
	case !ok:
		v.listed = true
	case t.index != nil && v.seen != *t.index:
		v.seen, v.after = *t.index, nil
	default:
		v.at, v.before = v.at+1, nil
	}
}

// next is the segment that comes next; false: there is none.
func (v *visit) next() (*fsm.Chain, stretch, bool) {
	c, ok := v.x.s.chainMeta(v.epoch)
	if ok && v.at < v.to {
		if t, ok := v.x.s.stretch(c, v.at); ok {
			if t.index == nil {
				t.to = min(t.to, v.to)
			}
			return c, t, true
		}
	}
	v.at = v.to
	return nil, stretch{}, false
}

func (v *visit) strays(ctx context.Context) error {
	if v.listed {
		return nil
	}
	keys, err := offline.Strays(ctx, v.x.store, v.epoch)
	if err != nil {
		return err
	}
	for _, key := range keys {
		v.x.found(offline.Foreign(key, "no object of a chain has such a key"))
	}
	v.listed = true
	return nil
}

// check looks at the rest of a segment: its index first, which tells what its
// objects hold. After an error, what was looked at is behind it.
func (v *visit) check(ctx context.Context, c *fsm.Chain, t stretch) (err error) {
	s, x := v.x.s, v.x
	chain := chainOf(s.cfg.Identity.Cluster, c)
	if t.index != nil && v.seen != *t.index {
		index, problem, err := offline.CheckIndex(ctx, x.store, chain, *t.index, v.sure(func(c *fsm.Chain) bool { return names(c, *t.index) }))
		if err != nil {
			return err
		}
		if problem != nil {
			x.found(*problem)
		}
		v.seen, v.after = *t.index, index
		x.progress.looked(1)
	}
	p := offline.Part{
		Chain: chain, From: t.from, To: t.to, Sealed: t.sealed, Nonce: s.nonce(c), After: v.after,
		Sure: v.sure(func(*fsm.Chain) bool { return true }),
	}
	if p.Before, err = v.earlier(ctx, c, t.from); err != nil {
		return err
	}
	problems, next, err := p.Check(ctx, x.store)
	x.found(problems...)
	x.progress.looked(next - v.at)
	v.at, v.before = next, nil
	if err == nil {
		v.before, v.after = v.after, nil
	}
	return err
}

// earlier is the index that ends with an object; nil: there is none, or it can't
// be read, which it is named for itself.
func (v *visit) earlier(ctx context.Context, c *fsm.Chain, from uint64) (*fragment.Index, error) {
	if v.before != nil && v.before.To == from {
		return v.before, nil
	}
	for _, x := range c.Cuts {
		if x.To == from {
			chain := chainOf(v.x.s.cfg.Identity.Cluster, c)
			index, _, err := offline.CheckIndex(ctx, v.x.store, chain, segment.Ref(x.Index), v.sure(func(*fsm.Chain) bool { return true }))
			return index, err
		}
	}
	return nil, nil
}

// sure asks the metadata, of now, whether something of the chain must be there
// still: what is collected, or replaced, while it is read, is not missing.
func (v *visit) sure(still func(*fsm.Chain) bool) func(ctx context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		if err := v.x.confirm(ctx); err != nil {
			return false, err
		}
		c, ok := v.x.s.chainMeta(v.epoch)
		return ok && still(c), nil
	}
}

// stretch returns what is there of a chain from object n to the end of its
// segment. False: nothing is known to be.
func (s *Service) stretch(c *fsm.Chain, n uint64) (stretch, bool) {
	i, _ := slices.BinarySearchFunc(c.Cuts, n, func(x fsm.Cut, n uint64) int { return cmp.Compare(x.To, n+1) })
	switch {
	case i < len(c.Cuts):
		ref := segment.Ref(c.Cuts[i].Index)
		return stretch{from: n, to: c.Cuts[i].To, index: &ref}, true
	case c.State == fsm.ChainSealed && n < s.there(c):
		ref := segment.Ref(c.Seal.Index)
		return stretch{from: n, to: s.there(c), sealed: true, index: &ref}, true
	}
	to := s.there(c)
	return stretch{from: n, to: to}, n < to
}

// there is how many objects a chain has, the seal included, as far as that is
// known here: of one that is not sealed, its writer knows.
func (s *Service) there(c *fsm.Chain) uint64 {
	if c.State == fsm.ChainSealed {
		return c.Seal.At + 1
	}
	s.mu.RLock()
	mine := s.chains[c.Epoch]
	s.mu.RUnlock()
	if mine == nil {
		return 0
	}
	return mine.writer.Durable() + 1
}

// names says whether the metadata name an index object.
func names(c *fsm.Chain, ref segment.Ref) bool {
	return c.State == fsm.ChainSealed && segment.Ref(c.Seal.Index) == ref ||
		slices.ContainsFunc(c.Cuts, func(x fsm.Cut) bool { return segment.Ref(x.Index) == ref })
}

// nonce is that of the boot that wrote a chain; zero if it is not the latest of
// its node: of others, the metadata do not know it.
func (s *Service) nonce(c *fsm.Chain) (nonce fragment.Nonce) {
	s.cfg.Meta.View(func(m *fsm.State) {
		if n, ok := m.Node(c.Node); ok && n.Boot == c.Boot {
			nonce = n.Nonce
		}
	})
	return nonce
}
