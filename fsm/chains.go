package fsm

import (
	"fmt"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

func (s *State) grantChain(c *fsmpb.GrantChain) (Result, error) {
	n, err := s.node(c.GetIdentity())
	switch {
	case err != nil:
		return Result{}, err
	case n.Boot != c.GetBoot():
		return Result{}, &StaleError{What: "boot", Of: n.Identity, Have: n.Boot, Want: c.GetBoot()}
	case c.GetWindow() == 0 || c.GetWindow() > WindowMax:
		return Result{}, &InvalidError{Field: "window", Reason: fmt.Sprintf("%d is outside of [1, %d]", c.GetWindow(), WindowMax)}
	case s.highestEpoch >= highestMax:
		return Result{}, &InvalidError{Field: "epoch", Reason: "all are given out"}
	}
	s.highestEpoch++
	s.chains.ReplaceOrInsert(&Chain{
		Epoch:       s.highestEpoch,
		Node:        n.Identity,
		Boot:        n.Boot,
		Incarnation: s.cluster.Incarnation,
		Window:      c.GetWindow(),
		Kind:        ChainKind(c.GetKind()),
		State:       ChainOpen,
	})
	return Result{Epoch: s.highestEpoch}, nil
}

func (s *State) beginSeal(c *fsmpb.BeginSeal) (Result, error) {
	old, err := s.chain(fragment.Epoch(c.GetEpoch()))
	if err != nil {
		return Result{}, err
	}
	if _, err := s.node(c.GetSealer()); err != nil {
		return Result{}, err
	}
	if old.State == ChainSealed {
		return Result{Epoch: old.Epoch}, nil
	}
	next := *old
	next.State = ChainSealing
	next.DurableHint = max(old.DurableHint, c.GetDurableHint())
	next.Sealer = c.GetSealer()
	s.chains.ReplaceOrInsert(&next)
	return Result{Epoch: next.Epoch}, nil
}

func (s *State) addCut(c *fsmpb.AddCut) (Result, error) {
	cut := Cut{From: c.GetFrom(), To: c.GetTo(), Index: refOf(c.GetIndex())}
	if cut.To <= cut.From {
		return Result{}, &InvalidError{Field: "cut", Reason: fmt.Sprintf("[%d, %d) is empty", cut.From, cut.To)}
	}
	if err := checkRef("index", cut.Index); err != nil {
		return Result{}, err
	}
	old, err := s.chain(fragment.Epoch(c.GetEpoch()))
	if err != nil {
		return Result{}, err
	}
	if old.hasCut(cut) {
		return Result{Epoch: old.Epoch}, nil
	}
	if old.State != ChainOpen {
		return Result{}, &ChainStateError{Epoch: old.Epoch, Have: old.State, Want: ChainOpen}
	}
	if end := old.cutEnd(); cut.From != end {
		return Result{}, &StaleError{What: "end of the last cut", Of: "chain " + old.Epoch.String(), Have: end, Want: cut.From}
	}
	next := *old
	// Copies of the chain share the array and see no more of it than they
	// had: only the latest is ever appended to.
	next.Cuts = append(old.Cuts, cut)
	s.chains.ReplaceOrInsert(&next)
	return Result{Epoch: next.Epoch}, nil
}

func (s *State) seal(c *fsmpb.Seal) (Result, error) {
	seal := Seal{At: c.GetAt(), Index: refOf(c.GetIndex())}
	if err := checkRef("index", seal.Index); err != nil {
		return Result{}, err
	}
	old, err := s.chain(fragment.Epoch(c.GetEpoch()))
	if err != nil {
		return Result{}, err
	}
	switch old.State {
	case ChainOpen:
		return Result{}, &ChainStateError{Epoch: old.Epoch, Have: old.State, Want: ChainSealing}
	case ChainSealed:
		if old.Seal != seal {
			return Result{}, &BreachError{Reason: fmt.Sprintf("chain %s is sealed by %+v and can't be sealed by %+v", old.Epoch, old.Seal, seal)}
		}
		return Result{Epoch: old.Epoch}, nil
	}
	if len(old.Cuts) > 0 && seal.At < old.cutEnd() {
		return Result{}, &RangeError{What: "seal", Of: "chain " + old.Epoch.String(), Value: seal.At, From: old.cutEnd(), To: 1<<64 - 1}
	}
	next := *old
	next.State = ChainSealed
	next.Seal = seal
	s.chains.ReplaceOrInsert(&next)
	return Result{Epoch: next.Epoch}, nil
}

// cutEnd returns the fragment that the next cut begins with.
func (c *Chain) cutEnd() uint64 {
	if len(c.Cuts) == 0 {
		return firstFragment
	}
	return c.Cuts[len(c.Cuts)-1].To
}

func (c *Chain) hasCut(cut Cut) bool {
	lo, hi := 0, len(c.Cuts) // a cut from cut.From lies in [lo, hi)
	for lo < hi {
		mid := (lo + hi) / 2
		switch at := c.Cuts[mid]; {
		case at.From == cut.From:
			return at == cut
		case at.From < cut.From:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return false
}
