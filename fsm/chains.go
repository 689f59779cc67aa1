package fsm

import (
	"fmt"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

func (s *State) grantChain(c *fsmpb.GrantChain) (Result, error) {
	n, err := s.live(c.GetIdentity())
	switch {
	case err != nil:
		return Result{}, err
	case n.Boot != c.GetBoot():
		return Result{}, &StaleError{What: "boot", Of: n.Identity, Have: n.Boot, Want: c.GetBoot()}
	case s.highestEpoch >= highestMax:
		return Result{}, &InvalidError{Field: "epoch", Reason: "all are given out"}
	}
	if err := checkWindow(c.GetWindow()); err != nil {
		return Result{}, err
	}
	log := fragment.LogID(c.GetLog())
	if err := s.checkDedicated(log); err != nil {
		return Result{}, err
	}
	s.highestEpoch++
	s.putChain(&Chain{
		Epoch:       s.highestEpoch,
		Node:        n.Identity,
		Boot:        n.Boot,
		Incarnation: s.cluster.Incarnation,
		Window:      c.GetWindow(),
		Kind:        ChainKind(c.GetKind()),
		Log:         log,
		State:       ChainOpen,
	})
	return Result{Epoch: s.highestEpoch}, nil
}

func checkWindow(window uint32) error {
	if window == 0 || window > WindowMax {
		return &InvalidError{Field: "window", Reason: fmt.Sprintf("%d is outside of [1, %d]", window, WindowMax)}
	}
	return nil
}

// checkDedicated tells whether a chain may be granted for a log, 0 meaning all.
func (s *State) checkDedicated(id fragment.LogID) error {
	if id == 0 {
		return nil
	}
	l, err := s.log(id)
	if err != nil {
		return err
	}
	if !l.Config.Dedicated {
		return &DedicatedError{Log: id}
	}
	return nil
}

func (s *State) beginSeal(c *fsmpb.BeginSeal) (Result, error) {
	old, err := s.chain(fragment.Epoch(c.GetEpoch()))
	if err != nil {
		return Result{}, err
	}
	if _, err := s.live(c.GetSealer()); err != nil {
		return Result{}, err
	}
	if old.State == ChainSealed {
		return Result{Epoch: old.Epoch}, nil
	}
	next := *old
	next.State = ChainSealing
	next.DurableHint = max(old.DurableHint, c.GetDurableHint())
	next.Sealer = c.GetSealer()
	s.putChain(&next)
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
	s.putChain(&next)
	return Result{Epoch: next.Epoch}, nil
}
