package fsm

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

func (s *State) addCut(c *fsmpb.AddCut) (Result, error) {
	cut, err := cutOf(c)
	if err != nil {
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
	s.putChain(&next)
	return Result{Epoch: next.Epoch}, nil
}

func (s *State) mergeCuts(c *fsmpb.MergeCuts) (Result, error) {
	cut, err := cutOf(c)
	if err != nil {
		return Result{}, err
	}
	old, err := s.chain(fragment.Epoch(c.GetEpoch()))
	if err != nil {
		return Result{}, err
	}
	if old.hasCut(cut) {
		return Result{Epoch: old.Epoch}, nil
	}
	i, begins := old.cutFrom(cut.From)
	j, goesOn := old.cutFrom(cut.To)
	if ends := goesOn || cut.To == old.cutEnd(); !begins || !ends || j-i < 2 {
		return Result{}, &CutsError{Epoch: old.Epoch, From: cut.From, To: cut.To}
	}
	next := *old
	next.Cuts = slices.Concat(old.Cuts[:i], []Cut{cut}, old.Cuts[j:])
	s.putChain(&next)
	return Result{Epoch: next.Epoch}, nil
}

// cutOf returns the cut that a command is about.
func cutOf(c interface {
	GetFrom() uint64
	GetTo() uint64
	GetIndex() *fsmpb.Ref
}) (Cut, error) {
	cut := Cut{From: c.GetFrom(), To: c.GetTo(), Index: refOf(c.GetIndex())}
	if cut.To <= cut.From {
		return Cut{}, &InvalidError{Field: "cut", Reason: fmt.Sprintf("[%d, %d) is empty", cut.From, cut.To)}
	}
	return cut, checkRef("index", cut.Index)
}

// cutEnd returns the fragment that the next cut begins with.
func (c *Chain) cutEnd() uint64 {
	if len(c.Cuts) == 0 {
		return firstFragment
	}
	return c.Cuts[len(c.Cuts)-1].To
}

// hasCut reports whether the cut is there just so.
func (c *Chain) hasCut(cut Cut) bool {
	i, found := c.cutFrom(cut.From)
	return found && c.Cuts[i] == cut
}

// cutFrom returns the place of the cut that begins with a fragment.
func (c *Chain) cutFrom(from uint64) (int, bool) {
	return slices.BinarySearchFunc(c.Cuts, from, func(cut Cut, from uint64) int { return cmp.Compare(cut.From, from) })
}
