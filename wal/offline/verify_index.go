package offline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
)

// indexChecks holds the index objects of a chain against the chain, as it is
// walked.
type indexChecks struct {
	cc      *chainCheck
	waiting []indexKey // by where they begin
	active  []*indexCheck
	broken  bool // one could not be read
}

// indexCheck is one index under way.
type indexCheck struct {
	key  indexKey
	x    *fragment.Index
	rows map[fragment.Attachment]*indexRows
	bad  bool // it was reported
}

type indexRows struct {
	log  fragment.LogID
	rows []fragment.Row // what is to come
}

func newIndexChecks(cc *chainCheck) *indexChecks {
	return &indexChecks{cc: cc, waiting: cc.c.indexes}
}

// begin reads the indexes that begin with object n, or before.
func (k *indexChecks) begin(ctx context.Context, n uint64) error {
	for len(k.waiting) > 0 && k.waiting[0].from <= n {
		key := k.waiting[0]
		k.waiting = k.waiting[1:]
		x, size, err := readIndex(ctx, k.cc.store, k.cc.segment(k.cc.c.epoch), key)
		var version *fragment.VersionError
		if err != nil && !errors.Is(err, fragment.ErrCorrupt) && !errors.Is(err, fs.ErrNotExist) && !errors.As(err, &version) {
			return err
		}
		k.cc.count(size)
		if err != nil {
			k.broken = true
			k.cc.verifier.object(key.key, err)
			continue
		}
		c := &indexCheck{key: key, x: x, rows: make(map[fragment.Attachment]*indexRows)}
		for _, l := range x.Logs {
			c.rows[l.Attachment] = &indexRows{l.Log, l.Rows}
		}
		if key.from == key.to { // the chain was cut up to its end
			k.end(c)
			continue
		}
		k.active = append(k.active, c)
	}
	return nil
}

// object holds the next object of the chain against the indexes that speak of
// it.
func (k *indexChecks) object(x *segment.Scanned) {
	kept := k.active[:0]
	for _, c := range k.active {
		if x.Directory != nil && x.N < c.key.to {
			c.slices(k.cc, x)
		}
		if x.N+1 >= c.key.to {
			k.end(c)
			continue
		}
		kept = append(kept, c)
	}
	clear(k.active[len(kept):])
	k.active = kept
}

// slices holds the rows of an index against the slices of an object.
func (c *indexCheck) slices(cc *chainCheck, x *segment.Scanned) {
	for _, s := range x.Directory.Slices {
		r := c.rows[s.Attachment]
		if r == nil || r.log != s.Log {
			c.mismatch(cc, fmt.Sprintf("does not know the entries of log %d in %s", s.Log, x.Key))
			continue
		}
		r.skipLost(cc, x.N)
		want := fragment.Row{N: x.N, Offset: s.Offset, Length: s.Length, First: s.First, Count: uint64(s.Count), TimeMin: s.TimeMin, TimeMax: s.TimeMax}
		if len(r.rows) == 0 || r.rows[0] != want {
			c.mismatch(cc, fmt.Sprintf("says otherwise where the entries of log %d in %s are", s.Log, x.Key))
			continue
		}
		r.rows = r.rows[1:]
	}
}

// skipLost leaves out the rows of objects before n that can't be read.
func (r *indexRows) skipLost(cc *chainCheck, n uint64) {
	for len(r.rows) > 0 && (r.rows[0].Lost || r.rows[0].N < n && cc.g.damaged(r.rows[0].N)) {
		r.rows = r.rows[1:]
	}
}

// end holds what an index says of the logs at its end against the chain so
// far. If something was lost before, it tells what.
func (k *indexChecks) end(c *indexCheck) {
	cc := k.cc
	if len(cc.g.losses) > 0 {
		cc.g.tellStates(c.x)
		cc.g.settle(0)
	}
	for _, r := range c.rows {
		if r.skipLost(cc, c.key.to); len(r.rows) > 0 {
			c.mismatch(cc, fmt.Sprintf("knows entries [%d, %d) of log %d in object %d, which are not there", r.rows[0].First, r.rows[0].End(), r.log, r.rows[0].N))
		}
	}
	stands := make(map[fragment.LogID]*stand)
	for _, st := range cc.g.stays {
		if have := stands[st.log]; st.attached && (have == nil || have.attachment < st.attachment) {
			stands[st.log] = st
		}
	}
	for _, s := range c.x.States {
		st := stands[s.Log]
		if st != nil && st.attachment == s.Attachment && st.next == s.End {
			delete(stands, s.Log)
			continue
		}
		delete(stands, s.Log)
		if st == nil && len(cc.g.all) > 0 {
			continue // what attached it is lost
		}
		have := "the chain does not have it"
		if st != nil {
			have = fmt.Sprintf("in the chain it stands at %d under attachment %d", st.next, st.attachment)
		}
		c.mismatch(cc, fmt.Sprintf("says that log %d stands at LSN %d under attachment %d; %s", s.Log, s.End, s.Attachment, have))
	}
	for _, st := range stands {
		c.mismatch(cc, fmt.Sprintf("does not say where log %d stands", st.log))
	}
}

func (c *indexCheck) mismatch(cc *chainCheck, detail string) {
	if !c.bad {
		c.bad = true
		cc.mismatch(c.key.key, detail)
	}
}

// finish ends what is left at the end of the chain, and looks for indexes that
// must be there and are not.
func (k *indexChecks) finish(ctx context.Context) error {
	cc, c := k.cc, k.cc.c
	if err := k.begin(ctx, c.end); err != nil {
		return err
	}
	for _, x := range k.active {
		if x.key.to > c.end {
			x.mismatch(cc, fmt.Sprintf("speaks of objects up to %d, the chain ends at %d", x.key.to, c.end))
		}
		k.end(x)
	}
	k.active = nil
	for _, key := range k.waiting {
		x := &indexCheck{key: key}
		x.mismatch(cc, fmt.Sprintf("speaks of objects from %d on, the chain ends at %d", key.from, c.end))
	}
	if k.broken {
		return nil // one of them may be what is looked for
	}
	now, _, err := listIndexes(ctx, cc.store, c.epoch) // more may have come
	if err != nil {
		return err
	}
	ends := map[uint64]bool{1: true}
	for _, key := range now {
		ends[key.to] = true
	}
	for _, key := range now {
		if !ends[key.from] {
			ends[key.from] = true
			cc.r.problem(Problem{Kind: KindMissing, Object: fragment.IndexPrefix(c.epoch), Detail: fmt.Sprintf(
				"no index ends with object %d, where %s begins", key.from, key.key)})
		}
	}
	if next := cc.successor(c); c.sealed && next != nil && !ends[c.end] {
		cc.r.problem(Problem{Kind: KindMissing, Object: fragment.IndexPrefix(c.epoch), Detail: fmt.Sprintf(
			"no index ends with the seal, object %d, though %s went on with chain %d", c.end, c.opening.Node, uint64(next.epoch))})
	}
	return nil
}
