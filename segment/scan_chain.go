package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/wpd-io/wpd/fragment"
)

// Run is the numbers [From, To).
type Run struct{ From, To uint64 }

// Listing is which objects of a chain a listing found, in order, as runs: so
// it is small however long the chain is.
type Listing struct {
	Runs    []Run
	Foreign []string // keys in the chain's place that no chain object has; the first few
	Strange int      // how many there are
}

// foreignMax bounds the foreign keys that a listing keeps.
const foreignMax = 100

// ListChain lists the objects of a chain.
func ListChain(ctx context.Context, store Store, e fragment.Epoch) (Listing, error) {
	var l Listing
	for key, err := range store.List(ctx, fragment.ChainPrefix(e), "") {
		if err != nil {
			return Listing{}, fmt.Errorf("list chain %d: %w", uint64(e), err)
		}
		_, n, err := fragment.ParseChainKey(key)
		switch last := len(l.Runs) - 1; {
		case err != nil:
			if l.Strange++; l.Strange <= foreignMax {
				l.Foreign = append(l.Foreign, key)
			}
		case last >= 0 && l.Runs[last].To == n:
			l.Runs[last].To++
		default:
			l.Runs = append(l.Runs, Run{n, n + 1})
		}
	}
	return l, nil
}

// Len is the number of objects.
func (l Listing) Len() uint64 {
	var n uint64
	for _, r := range l.Runs {
		n += r.To - r.From
	}
	return n
}

func (l Listing) all() iter.Seq[uint64] { return l.after(0) }

// after yields the numbers from a number on.
func (l Listing) after(from uint64) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for _, r := range l.Runs {
			for n := max(r.From, from); n < r.To; n++ {
				if !yield(n) {
					return
				}
			}
		}
	}
}

// windowMax is taken for the window of a chain whose opening can't be read: no
// chain has a larger one.
const windowMax = 1024

// ScanChain walks a chain from its opening to its seal or first hole, by the
// bucket alone, and then what stands beyond. Places that were durable once and
// are empty now come as damage: the rules are those of a sealer. An opening
// that was never made, its chain being sealed right away, is left out.
//
// It may run while the chain is written, and sees a prefix of it that holds at
// least what was there before l was listed. Cluster (zero: any) and Epoch of
// the chain must be set. Errors are those of ScanRange.
func ScanChain(ctx context.Context, store Store, c Chain, l Listing, o ScanOptions) iter.Seq2[*Scanned, error] {
	return func(yield func(*Scanned, error) bool) {
		c.Window = windowMax
		s := &scan{loader: loader{store, c, o}, listed: l, yield: yield}
		for x, err := range inOrder(ctx, o.ahead(), l.all(), s.load) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !s.fill(ctx, x.N, x) || !s.take(x) {
				return
			}
		}
		s.fill(ctx, o.Durable+1, nil)
	}
}

// scan is a walk over one chain.
type scan struct {
	loader
	listed Listing
	yield  func(*Scanned, error) bool
	next   uint64 // the place that comes next
	ended  bool   // at the seal, or at the first hole

	witnesses []*Scanned // heads read behind a hole
	asked     uint64     // up to which, exclusive
}

// take hands out an object.
func (s *scan) take(x *Scanned) bool {
	x.Beyond = s.ended
	if !s.ended {
		s.next = x.N + 1
		s.ended = x.Kind == fragment.KindSeal
		if x.Directory != nil && x.Directory.Opening != nil {
			s.chain.Window = max(1, uint64(x.Directory.Opening.Window))
		}
	}
	return s.yield(x, nil)
}

// fill settles the places up to to that were not listed; then is what stands
// there. They are read again: since they were listed, others may have come.
func (s *scan) fill(ctx context.Context, to uint64, then *Scanned) bool {
	for !s.ended && s.next < to {
		all, err := each(ctx, numbers(s.next, min(to, s.next+walkers)), s.load)
		if err != nil {
			return s.yield(nil, err) && false
		}
		for _, x := range all {
			if s.ended {
				break
			}
			if errors.Is(x.Damage, fs.ErrNotExist) {
				if x.N == 0 && then != nil && then.N == 1 && then.Kind == fragment.KindSeal {
					s.next = 1 // its writer never got so far
					continue
				}
				durable, err := s.wasDurable(ctx, x.N)
				if err != nil {
					return s.yield(nil, err) && false
				}
				if !durable {
					s.ended = true
					break
				}
			}
			if !s.take(x) {
				return false
			}
		}
	}
	return true
}

// wasDurable says whether something proves that the empty place n was once
// taken, as sealer.wasDurable does. All that it goes by was there before the
// place was found empty. An object of another place proves nothing.
func (s *scan) wasDurable(ctx context.Context, n uint64) (bool, error) {
	if n <= s.opts.Durable {
		return true, nil
	}
	proves := func(x *Scanned) bool {
		switch {
		case x.N <= n || x.Kind == 0:
			return false
		case n == 0 || x.N >= n+s.chain.Window:
			return true
		}
		return x.Kind != fragment.KindFragment || x.Damage == nil && x.Head.Durable >= n
	}
	for _, x := range s.witnesses {
		if proves(x) {
			return true, nil
		}
	}
	heads := loader{store: s.store, chain: s.chain}
	for m := range s.listed.after(max(s.asked, n+1)) {
		x, err := heads.load(ctx, m)
		if err != nil {
			return false, err
		}
		s.asked = m + 1
		if x.Kind != 0 {
			s.witnesses = append(s.witnesses, x)
		}
		if proves(x) {
			return true, nil
		}
	}
	return false, nil
}
