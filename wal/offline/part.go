package offline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
)

// Part is a run of objects of one chain, and what somebody knows of them who need
// not ask the bucket: the metadata. All of them must be there.
type Part struct {
	Chain    segment.Chain  // Cluster and Epoch
	From, To uint64         // objects [From, To)
	Sealed   bool           // the last of them is the chain's seal
	Nonce    fragment.Nonce // of the boot that wrote the chain; zero: any
	// Before is the index that ends with From, After the one that ends with To,
	// or with the seal: by them it is known what a lost object held. nil: not
	// known.
	Before, After *fragment.Index
	// Sure is asked about what seems damaged, and says whether it must be there
	// still; then it is read once more before it is called damaged. An error
	// ends Check.
	Sure func(ctx context.Context) (bool, error)
}

// Check reads every byte of the objects, one object at a time, and returns what
// is wrong with objects [From, next): of each that no entry is lost with, one
// problem at most, otherwise one for each lost range of a log. Problems have no
// names of logs. next is To, unless there is an error: one of Sure, or whatever
// kept the store from giving that object.
func (p Part) Check(ctx context.Context, store segment.Store) (found []Problem, next uint64, err error) {
	c := &partCheck{Part: p, store: store, told: make(map[*loss]*loss)}
	c.g = newLedger(c)
	if p.Before != nil {
		c.g.tellStates(p.Before)
	}
	next = p.From
	for x, err := range c.scan(ctx, p.From, p.To) {
		if err == nil {
			err = c.object(ctx, x)
		}
		if err != nil {
			return c.finish(), next, fmt.Errorf("check object %d of chain %d: %w", next, uint64(p.Chain.Epoch), err)
		}
		next = x.N + 1
	}
	if p.After != nil && len(c.g.losses) > 0 {
		c.g.tellStates(p.After)
		c.g.settle(0)
	}
	return c.finish(), next, nil
}

// finish returns what was found, with what nothing was told of.
func (c *partCheck) finish() []Problem {
	for _, l := range c.g.all {
		switch first := c.told[l]; {
		case first == nil && c.Before == nil && c.From > 0 && (l.n < c.good || c.good == 0):
			p := l.problem()
			p.Detail = reason(l.err) + "; what is lost with it is not known, as the check began here"
			c.report(p)
		case first == nil:
			c.report(l.problem())
		case first != l:
			p := l.problem()
			p.Detail = reason(l.err) + "; what is lost with it is told with " + first.key
			c.report(p)
		}
	}
	return c.found
}

// partCheck is one run of Part.Check. It is the sink of a ledger.
type partCheck struct {
	Part
	store segment.Store
	g     *ledger
	found []Problem
	good  uint64 // the first object that can be read; 0: none could yet
	// told are the places that a lost range was put down to, each with the
	// first of them, whose problem that is.
	told map[*loss]*loss
}

func (c *partCheck) scan(ctx context.Context, from, to uint64) func(func(*segment.Scanned, error) bool) {
	return segment.ScanRange(ctx, c.store, c.Chain, from, to, segment.ScanOptions{Whole: true, Ahead: 1})
}

// object checks one object.
func (c *partCheck) object(ctx context.Context, x *segment.Scanned) error {
	x, err := c.sure(ctx, x)
	if x == nil || err != nil {
		return err
	}
	last := c.Sealed && x.N == c.To-1
	switch {
	case last && x.Damage != nil:
		c.report(Problem{Kind: kindOf(x.Damage), Object: x.Key, Detail: reason(x.Damage) + "; the seal of the chain belongs here"})
		return nil
	case x.N == 0 && c.Sealed && c.To == 2 && errors.Is(x.Damage, fs.ErrNotExist):
		return nil // its writer never got so far
	case x.Damage == nil:
		c.place(x, last)
		if c.good == 0 {
			c.good = x.N
		}
	}
	return enter(ctx, c.store, c.g, x)
}

// place checks that what stands at a place is of the kind, and of the writer,
// that belongs there.
func (c *partCheck) place(x *segment.Scanned, last bool) {
	ok := x.Kind == fragment.KindFragment || x.Kind == fragment.KindGap
	switch {
	case last:
		ok = x.Kind == fragment.KindSeal
	case x.N == 0:
		ok = x.Kind == fragment.KindOpening
	}
	switch byWriter := x.Kind == fragment.KindFragment || x.Kind == fragment.KindOpening; {
	case !ok:
		c.report(Problem{Kind: KindMismatch, Object: x.Key, Detail: fmt.Sprintf("is a %s, which the metadata do not know of here", x.Kind)})
	case byWriter && c.Nonce != (fragment.Nonce{}) && x.Head.Nonce != c.Nonce:
		c.report(Problem{Kind: KindMismatch, Object: x.Key, Detail: fmt.Sprintf("has nonce %s, the chain's writer has %s: somebody else wrote it", x.Head.Nonce, c.Nonce)})
	}
}

// sure reads what seems damaged once more. nil: it need not be there any more.
func (c *partCheck) sure(ctx context.Context, x *segment.Scanned) (*segment.Scanned, error) {
	damaged := x.Damage != nil
	for _, s := range x.Contents {
		damaged = damaged || s.Err != nil
	}
	if !damaged || c.Sure == nil {
		return x, nil
	}
	must, err := c.Sure(ctx)
	if !must || err != nil {
		return nil, err
	}
	for x, err := range c.scan(ctx, x.N, x.N+1) {
		return x, err
	}
	return nil, nil // one object is one step
}

func (c *partCheck) report(p Problem) {
	if p.Objects == 1 {
		p.Objects = 0
	}
	c.found = append(c.found, p)
}

// batches implements sink: each was checked when it was read.
func (c *partCheck) batches(*stand, uint64, []fragment.Batch) {}

// lost implements sink.
func (c *partCheck) lost(st *stand, from, to fragment.LSN, at []*loss) {
	p := Problem{Kind: KindHole, Object: fragment.ChainPrefix(c.Chain.Epoch), Detail: "goes on behind these entries, which are nowhere"}
	if len(at) > 0 {
		first := at[0]
		p = Problem{Kind: kindOf(first.err), Object: first.key, Objects: first.count, Detail: reason(first.err)}
		for _, l := range at {
			if c.told[l] == nil || l == first {
				c.told[l] = first
			}
		}
	}
	p.Log, p.From, p.To = st.log, from, to
	c.report(p)
}

// double implements sink.
func (c *partCheck) double(st *stand, n uint64, from, to fragment.LSN) {
	c.report(Problem{
		Kind: KindDouble, Object: fragment.ChainKey(c.Chain.Epoch, n), Log: st.log,
		From: from, To: to, Detail: "holds entries that stand elsewhere too",
	})
}
