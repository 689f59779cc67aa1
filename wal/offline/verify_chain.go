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

// chainCheck verifies one chain. It is the sink of a ledger.
type chainCheck struct {
	*verifier
	c       *chain
	g       *ledger
	sums    segment.SumCheck
	indexes *indexChecks
	at      string         // key of the object that is being looked at
	atEnd   bool           // behind the last
	ends    []fragment.End // what the next fragment must repeat of the last
	endsOf  uint64         // the number of that last one
	tail    error          // damage of the last place
	beyond  Problem        // the note on what stands behind the end
	seals   bool           // something behind the seal proves that it stands wrong
}

// chain verifies a chain.
func (v *verifier) chain(ctx context.Context, c *chain) error {
	cc := &chainCheck{verifier: v, c: c}
	cc.g = newLedger(cc)
	for _, l := range v.Bucket.logs {
		for i, p := range l.places {
			if p.chain != c {
				continue
			}
			st := &stand{log: p.log, attachment: p.attachment, next: p.first}
			if i+1 < len(l.places) {
				st.limit = p.limit
			}
			cc.g.stays[p.attachment] = st
		}
	}
	cc.indexes = newIndexChecks(cc)
	o := segment.ScanOptions{Whole: true, Durable: c.durable(), Visit: checkEntries}
	sealed := false
	for x, err := range segment.ScanChain(ctx, v.store, v.segment(c.epoch), c.listed, o) {
		if err != nil {
			return err
		}
		if !errors.Is(x.Damage, fs.ErrNotExist) {
			v.count(x.Size)
		}
		if x.Beyond {
			cc.stray(x, sealed)
			continue
		}
		c.end, cc.tail, cc.at = x.N+1, x.Damage, x.Key
		if err := cc.indexes.begin(ctx, x.N); err != nil {
			return err
		}
		if x.Kind == fragment.KindSeal {
			c.end, sealed = x.N, true
		}
		if err := cc.object(ctx, x); err != nil {
			return err
		}
	}
	c.sealed = sealed
	return cc.finish(ctx)
}

// object checks one object of the chain.
func (cc *chainCheck) object(ctx context.Context, x *segment.Scanned) error {
	if err := cc.sums.Next(x); err != nil {
		cc.mismatch(x.Key, err.Error())
	}
	if x.Kind == fragment.KindSeal {
		if x.Damage != nil {
			cc.verifier.object(x.Key, x.Damage)
			return nil
		}
		return cc.written(ctx, x.Key, x.Directory.Seal.Node, x.Directory.Seal.Boot, x.Head.Nonce)
	}
	if x.Damage == nil && x.Kind == fragment.KindFragment {
		cc.fragment(x)
	}
	if err := enter(ctx, cc.store, cc.g, x); err != nil {
		return err
	}
	switch {
	case x.Damage != nil:
	case x.Kind == fragment.KindOpening:
		if err := cc.written(ctx, x.Key, x.Directory.Opening.Node, x.Directory.Opening.Boot, x.Head.Nonce); err != nil {
			return err
		}
	case x.Kind == fragment.KindGap:
		if err := cc.written(ctx, x.Key, x.Directory.Seal.Node, x.Directory.Seal.Boot, x.Head.Nonce); err != nil {
			return err
		}
	default:
		cc.stands(x)
	}
	cc.entries(x)
	cc.indexes.object(x)
	return nil
}

// fragment checks what a fragment says of itself and of the one before.
func (cc *chainCheck) fragment(x *segment.Scanned) {
	h := x.Head
	switch o := cc.c.opening; {
	case h.Durable >= h.N:
		cc.mismatch(x.Key, fmt.Sprintf("says that objects up to %d were durable before it", h.Durable))
	case o != nil && h.N > h.Durable+uint64(o.Window):
		cc.mismatch(x.Key, fmt.Sprintf("was begun when objects up to %d were durable, the window is %d", h.Durable, o.Window))
	}
	if h.Nonce != cc.c.nonce {
		cc.mismatch(x.Key, fmt.Sprintf("has nonce %s, its chain was begun with %s: two boots wrote it", h.Nonce, cc.c.nonce))
	}
	if (x.N == 1 || cc.ends != nil && cc.endsOf == x.N-1) && !slices.Equal(x.Directory.PrevEnds, cc.ends) {
		cc.mismatch(x.Key, "repeats other ends than the object before it has")
	}
	cc.ends, cc.endsOf = make([]fragment.End, 0, len(x.Directory.States)), x.N
	for _, s := range x.Directory.States {
		cc.ends = append(cc.ends, fragment.End{Log: s.Log, Attachment: s.Attachment, LSN: s.End})
	}
	for _, a := range x.Directory.Attached {
		st := cc.g.stays[a.Attachment]
		if l := cc.logs[a.Log]; l != nil && l.name != a.Name {
			cc.mismatch(x.Key, fmt.Sprintf("calls log %d %q, it is %q elsewhere", a.Log, a.Name, l.name))
		}
		if st != nil && (st.attached || st.log != a.Log) {
			cc.mismatch(x.Key, fmt.Sprintf("attaches log %d under attachment %d, which is taken", a.Log, a.Attachment))
		}
	}
}

// stands holds a fragment's states against its slices and all before. It
// comes after the fragment is in the ledger.
func (cc *chainCheck) stands(x *segment.Scanned) {
	states := x.Directory.States
	for _, s := range x.Directory.Slices {
		if _, ok := slices.BinarySearchFunc(states, s.Log, func(s fragment.LogState, id fragment.LogID) int { return cmp.Compare(s.Log, id) }); !ok {
			cc.mismatch(x.Key, fmt.Sprintf("has entries of log %d, but does not say where it stands", s.Log))
		}
		if st := cc.g.stays[s.Attachment]; st == nil || st.log != s.Log || !st.attached && len(cc.g.all) == 0 {
			cc.mismatch(x.Key, fmt.Sprintf("has entries of log %d under attachment %d, which is not its", s.Log, s.Attachment))
		}
	}
	for _, s := range states {
		if st := cc.g.stays[s.Attachment]; st != nil && st.log == s.Log && s.End != st.next {
			cc.mismatch(x.Key, fmt.Sprintf("says that log %d ends at LSN %d, its entries end at %d", s.Log, s.End, st.next))
		}
	}
}

// stray takes in an object that is not part of the chain.
func (cc *chainCheck) stray(x *segment.Scanned, sealed bool) {
	if x.Damage != nil {
		if !errors.Is(x.Damage, fs.ErrNotExist) {
			cc.r.problem(Problem{Kind: kindOf(x.Damage), Object: x.Key, Detail: reason(x.Damage) + "; it is not part of the chain: nothing is lost"})
		}
		return
	}
	if cc.beyond.Objects++; cc.beyond.Objects == 1 {
		cc.beyond.Object = x.Key
		cc.beyond.Kind, cc.beyond.Detail = NotePending, "behind the first hole of a chain that is not sealed: not acknowledged, not read"
		if sealed {
			cc.beyond.Kind, cc.beyond.Detail = NoteOrphan, "behind the seal: not acknowledged, not read"
		}
	}
	o := cc.c.opening
	if sealed && !cc.seals && x.Kind == fragment.KindFragment &&
		(x.Head.Durable >= cc.c.end || o != nil && x.N >= cc.c.end+uint64(o.Window)) {
		cc.seals = true
		cc.mismatch(fragment.ChainKey(cc.c.epoch, cc.c.end), fmt.Sprintf(
			"a seal, but object %d behind it says that a fragment was durable here: the store lost it, and what it held was acknowledged", x.N))
	}
}

// finish checks what can be said only at the end of the chain.
func (cc *chainCheck) finish(ctx context.Context) error {
	c := cc.c
	cc.atEnd, cc.at = true, fragment.ChainKey(c.epoch, c.end)
	short := cc.r.ProblemsTotal
	if err := cc.indexes.finish(ctx); err != nil {
		return err
	}
	for _, a := range sorted(cc.g.stays) {
		if st := cc.g.stays[a]; st.limit != 0 {
			cc.g.tellStand(st, st.limit, c.end)
		}
	}
	for _, l := range cc.g.all {
		if !l.named {
			cc.r.problem(l.problem())
		}
	}
	next := cc.successor(c)
	switch {
	case c.sealed:
		cc.r.Sealed++
	case next == nil:
		cc.r.note(Problem{Kind: NoteOpen, Object: fragment.ChainPrefix(c.epoch), Detail: fmt.Sprintf(
			"is not sealed: in use, or its writer stopped without; it has %d objects", c.end)})
	case cc.tail == nil && cc.r.ProblemsTotal == short:
		// Its writer seals what an earlier boot left before it begins another chain.
		cc.r.problem(Problem{Kind: KindMissing, Object: cc.at, Detail: fmt.Sprintf(
			"no seal stands here, though %s went on with chain %d", c.opening.Node, uint64(next.epoch))})
	}
	if cc.beyond.Objects > 0 {
		cc.r.note(cc.beyond)
	}
	return nil
}
