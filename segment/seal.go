package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/wpd-io/wpd/fragment"
)

// SealRequest says which chain to end, and what is known of it.
type SealRequest struct {
	Chain    Chain  // Node, Boot and Nonce are of whoever wrote it
	Cuts     []Cut  // its committed cuts
	Durable  uint64 // objects up to this one are known to have been durable
	Attached []Stay // the logs whose last extent is on this chain
	Sealer   Chain  // Node, Boot, Nonce and Incarnation of whoever seals
	Applied  uint64 // raft index that the sealer has applied
	// Check is asked about every head that is read, and may stop the seal;
	// nil: all is well.
	Check  func(key string, h fragment.Head) error
	Logger *slog.Logger // nil: silent
}

// Stay is one stay of a log on a chain.
type Stay struct {
	Log        fragment.LogID
	Attachment fragment.Attachment
	First      fragment.LSN // of the extent
}

// Sealed says where a chain ended and what it held since its last cut.
type Sealed struct {
	At    uint64 // number of the seal
	Index Ref
	// Content is what the index object holds: rows of [last cut, At), and
	// the states of all logs of the chain.
	Content *fragment.Index
	Lost    []LostError
}

// Seal ends a chain: it walks to the first hole, wins it with a seal, and
// writes the index of what lies before. Several may seal one chain at the same
// time, and any of them may stop anywhere: all that finish come to the same
// result, and whatever is started again finds what was done. It ends with
// success, or with ctx, or when the store or Check says no; never because a
// late fragment took the place, however often.
//
// A hole that once was durable is not the end: a gap is put there first
// (docs/architecture.md, "Taking over").
func Seal(ctx context.Context, store Store, r SealRequest) (Sealed, error) {
	if r.Logger == nil {
		r.Logger = slog.New(slog.DiscardHandler)
	}
	r.Chain = r.Chain.valid()
	s := &sealer{SealRequest: r, store: store}
	if err := s.begin(ctx); err != nil {
		return Sealed{}, fmt.Errorf("seal chain %d: %w", uint64(r.Chain.Epoch), err)
	}
	at, err := s.walk(ctx)
	if err != nil {
		return Sealed{}, fmt.Errorf("seal chain %d: %w", uint64(r.Chain.Epoch), err)
	}
	return s.finish(ctx, at)
}

// sealer holds what a seal has found so far.
type sealer struct {
	SealRequest
	store Store
	from  uint64 // behind the last cut
	found *findings
	ahead map[uint64]link // read already, by number
}

// begin takes in what needs no care: the last cut, and all that was surely
// durable.
func (s *sealer) begin(ctx context.Context) error {
	base, remade, err := loadIndex(ctx, s.store, s.Chain, s.Cuts, nil)
	if err != nil {
		return err
	}
	s.from = base.To
	s.found = newFindings(s.Chain.Epoch, s.from, base, s.Attached)
	if remade != nil {
		s.found.carry(remade)
	}
	sure, err := gallop(ctx, s.store, s.Chain, s.from)
	if err != nil {
		return err
	}
	var failed error
	absent := func(ctx context.Context, n uint64) (link, error) {
		return s.place(ctx, n, fragment.KindGap, fmt.Sprintf("objects are there that start only when %d is durable", n))
	}
	err = readSure(ctx, s.store, s.Chain, s.from, sure, absent, func(l link) {
		if failed == nil {
			failed = s.take(l)
		}
	})
	return errors.Join(err, failed)
}

// take adds what stands at the next place.
func (s *sealer) take(l link) error {
	if err := s.check(l); err != nil {
		return err
	}
	s.found.add(l)
	return nil
}

func (s *sealer) check(l link) error {
	key := fragment.ChainKey(s.Chain.Epoch, l.n)
	switch {
	case l.damage != nil:
		s.Logger.Error("chain object is lost", "object", key, "err", l.damage)
	case s.Check != nil:
		return s.Check(key, l.head)
	}
	return nil
}

// walk goes on object by object, and returns the number of the seal.
func (s *sealer) walk(ctx context.Context) (uint64, error) {
	s.ahead = make(map[uint64]link)
	for {
		n := s.found.next()
		l, ok, err := s.look(ctx, n)
		if err != nil {
			return 0, err
		}
		if !ok {
			if l, err = s.win(ctx, n); err != nil {
				return 0, err
			}
		}
		if l.damage == nil && l.head.Kind == fragment.KindSeal {
			return n, s.check(l)
		}
		if err := s.take(l); err != nil {
			return 0, err
		}
	}
}

// look reads object n, and, as it is about to be needed, the window behind it.
// What was missing when the window was read is read again.
func (s *sealer) look(ctx context.Context, n uint64) (link, bool, error) {
	if l, ok := s.ahead[n]; ok {
		delete(s.ahead, n)
		return l, true, nil
	}
	return s.readAhead(ctx, n)
}

// readAhead reads n and 2W objects behind it.
func (s *sealer) readAhead(ctx context.Context, n uint64) (at link, ok bool, err error) {
	type result struct {
		link
		there bool
	}
	all, err := each(ctx, numbers(n, n+2*s.Chain.Window+1), func(ctx context.Context, n uint64) (result, error) {
		l, err := readLink(ctx, s.store, s.Chain, n)
		if errors.Is(err, fs.ErrNotExist) {
			return result{}, nil
		}
		return result{l, err == nil}, err
	})
	if err != nil {
		return link{}, false, err
	}
	clear(s.ahead)
	for _, r := range all[1:] {
		if r.there {
			s.ahead[r.n] = r.link
		}
	}
	return all[0].link, all[0].there, nil
}

// win takes the hole at n, with a gap if it was durable once, otherwise with
// the seal, and returns what stands there then: its own, or what came first.
func (s *sealer) win(ctx context.Context, n uint64) (link, error) {
	kind, why := fragment.KindSeal, s.wasDurable(n)
	if why != "" {
		kind = fragment.KindGap
	}
	return s.place(ctx, n, kind, why)
}

// place tries to put a seal, or a gap and why, at n, and returns what stands
// there then. Safe for concurrent use.
func (s *sealer) place(ctx context.Context, n uint64, kind fragment.Kind, why string) (link, error) {
	key := fragment.ChainKey(s.Chain.Epoch, n)
	if kind == fragment.KindGap {
		s.Logger.Error("fragment is missing that was durable once", "object", key, "because", why)
	}
	o := fragment.Encode(fragment.Head{
		Kind: kind, Epoch: s.Chain.Epoch, N: n, Nonce: s.Sealer.Nonce, Cluster: s.Chain.Cluster,
		Incarnation: s.Sealer.Incarnation, Applied: s.Applied, Time: now(),
	}, &fragment.Directory{Seal: &fragment.Seal{Node: s.Sealer.Node, Boot: s.Sealer.Boot}})
	err := s.store.Create(ctx, key, o.Parts...)
	switch {
	case err == nil:
		return link{n: n, head: o.Head, directory: o.Directory}, nil
	case !errors.Is(err, fs.ErrExist):
		return link{}, fmt.Errorf("create %s: %w", kind, err)
	}
	return readLink(ctx, s.store, s.Chain, n)
}

// wasDurable says why the hole at n must once have been a fragment; "" if
// nothing says so. It goes by what readAhead saw behind the hole.
func (s *sealer) wasDurable(n uint64) string {
	if s.Durable >= n {
		return fmt.Sprintf("its writer reported %d as durable", s.Durable)
	}
	for m := n + 1; m <= n+2*s.Chain.Window; m++ {
		l, ok := s.ahead[m]
		switch {
		case !ok:
		case m >= n+s.Chain.Window:
			return fmt.Sprintf("object %d is there, which starts only when it is durable", m)
		case l.damage != nil:
		case l.head.Kind != fragment.KindFragment:
			return fmt.Sprintf("there is a %s at %d", l.head.Kind, m)
		case l.head.Durable >= n:
			return fmt.Sprintf("object %d says that all up to %d were durable", m, l.head.Durable)
		}
	}
	return ""
}

// finish writes the index object.
func (s *sealer) finish(ctx context.Context, at uint64) (Sealed, error) {
	s.found.giveUp()
	x := s.found.index(at)
	ref, err := writeIndex(ctx, s.store, s.Chain.Cluster, s.Chain.Epoch, x)
	if err != nil {
		return Sealed{}, fmt.Errorf("seal chain %d: %w", uint64(s.Chain.Epoch), err)
	}
	return Sealed{At: at, Index: ref, Content: x, Lost: s.found.lost}, nil
}
