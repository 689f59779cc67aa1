package fsm

import (
	"slices"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

func (s *State) attach(c *fsmpb.Attach) (Result, error) {
	old, err := s.log(fragment.LogID(c.GetLog()))
	if err != nil {
		return Result{}, err
	}
	chain, err := s.chain(fragment.Epoch(c.GetEpoch()))
	if err != nil {
		return Result{}, err
	}
	x := Extent{
		Epoch:    chain.Epoch,
		Previous: fragment.Attachment(c.GetPrevious()),
		First:    fragment.LSN(c.GetFirst()),
	}
	if c.GetBlank() && x.Previous == 0 {
		return Result{}, &InvalidError{Field: "blank", Reason: "there is no extent before"}
	}
	last, _ := old.Last()
	// A proposer that did not learn the outcome asks again with the same
	// words. Nothing but its own first try can have made this extent: one
	// that follows any other attach names that as the previous one.
	if again := last; old.Attachment != 0 {
		again.Attachment = 0
		if again == x {
			return Result{Log: old, Epoch: last.Epoch, Attachment: last.Attachment}, nil
		}
	}
	if chain.State != ChainOpen {
		return Result{}, &ChainStateError{Epoch: chain.Epoch, Have: chain.State, Want: ChainOpen}
	}
	if !chain.takes(old.ID) {
		return Result{}, &DedicatedError{Log: old.ID, Epoch: chain.Epoch, For: chain.Log}
	}
	if last.Attachment != x.Previous {
		return Result{}, &StaleError{What: "attachment", Of: old.of(), Have: uint64(last.Attachment), Want: uint64(x.Previous)}
	}
	if _, at, ok := s.Attached(old); ok {
		return Result{}, &AttachedError{Log: old.ID, Epoch: at.Epoch, Attachment: last.Attachment}
	}
	if c.GetBlank() {
		if err := s.checkBlank(old, last, x.First); err != nil {
			return Result{}, err
		}
	}
	if from, to := old.nextFirst(); x.First < from || x.First >= to {
		return Result{}, &RangeError{What: "first LSN", Of: old.of(), Value: uint64(x.First), From: uint64(from), To: uint64(to)}
	}
	if s.highestAttachment >= AttachmentMax {
		return Result{}, &InvalidError{Field: "attachment", Reason: "all are given out"}
	}
	s.highestAttachment++
	x.Attachment = s.highestAttachment
	next := *old
	next.Attachment = x.Attachment
	next.Extents = untrimmed(extended(old.Extents, x, c.GetBlank()), old.First)
	s.putLog(&next)
	return Result{Log: &next, Epoch: x.Epoch, Attachment: x.Attachment}, nil
}

// takes tells whether a log may be on the chain.
func (c *Chain) takes(id fragment.LogID) bool { return c.Log == 0 || c.Log == id }

// nextFirst returns the range that the next extent's first LSN must lie in. A
// log without extents begins at its trim point, which is 1. After a seal the
// end is the proposer's word, but what was trimmed was once there, so its LSNs
// are never given out again.
func (l *Log) nextFirst() (from, to fragment.LSN) {
	last, ok := l.Last()
	switch {
	case !ok:
		return l.First, l.First + 1
	case last.End != 0:
		return last.End, last.End + 1
	}
	return max(last.First, l.First), lsnMax + 1
}

// checkBlank tells whether the last extent can be blank, as the proposer says,
// if the next one begins at first. Only a seal rules out that something still
// comes, and a blank extent can't have moved the end.
func (s *State) checkBlank(l *Log, last Extent, first fragment.LSN) error {
	c, err := s.chain(last.Epoch)
	switch {
	case last.Attachment == 0:
		return &InvalidError{Field: "blank", Reason: "there is no extent before"}
	case err != nil:
		return err
	case c.State != ChainSealed:
		return &ChainStateError{Epoch: c.Epoch, Have: c.State, Want: ChainSealed}
	case first != last.First:
		return &RangeError{What: "blank extent's end", Of: l.of(), Value: uint64(first), From: uint64(last.First), To: uint64(last.First) + 1}
	}
	return nil
}

// extended returns a copy of the extents with x at the end. The last one is
// replaced by x if it is blank. Otherwise it stays, even without an entry, as
// its chain may be the only one that holds where the producers stand; its end
// is now known to be where x begins. An empty one before it was kept for the
// same reason. It goes, for what its chain holds was noted again in the chain
// of the one that stays.
func extended(extents []Extent, x Extent, blank bool) []Extent {
	extents = slices.Clone(extents)
	n := len(extents)
	if blank {
		extents[n-1] = x
		return extents
	}
	if n > 0 {
		extents[n-1].End = x.First
	}
	if n > 1 && extents[n-2].empty() {
		extents = slices.Delete(extents, n-2, n-1)
	}
	return append(extents, x)
}

// empty says that the metadata knows an extent to hold no entry. Its chain may
// still hold where the log's producers stand.
func (x Extent) empty() bool { return x.End == x.First }

func (s *State) detach(c *fsmpb.Detach) (Result, error) {
	// A repeated detach is known before the chain is looked at, which may be
	// ending by now: if it were refused, its proposer would take the log for still
	// attached, and LSNs would be given out twice (docs/model/logs.pml).
	if l, err := s.log(fragment.LogID(c.GetLog())); err == nil && l.Attachment == 0 {
		last, ok := l.Last()
		if ok && uint64(last.Attachment) == c.GetAttachment() && uint64(last.End) == c.GetEnd() {
			return Result{Log: l, Attachment: last.Attachment}, nil
		}
	}
	old, last, err := s.owned(c.GetLog(), c.GetAttachment())
	if err != nil {
		return Result{}, err
	}
	end, from := fragment.LSN(c.GetEnd()), max(last.First, old.First)
	if end < from || end > lsnMax {
		return Result{}, &RangeError{What: "end", Of: old.of(), Value: uint64(end), From: uint64(from), To: lsnMax + 1}
	}
	next := *old
	next.Attachment = 0
	next.Extents = slices.Clone(old.Extents)
	next.Extents[len(next.Extents)-1].End = end
	s.putLog(&next)
	return Result{Log: &next, Attachment: last.Attachment}, nil
}

// owned returns the log and its last extent if it is attached under a to an
// open chain: what a command of the log's owner rests on.
func (s *State) owned(id, a uint64) (*Log, Extent, error) {
	l, err := s.log(fragment.LogID(id))
	if err != nil {
		return nil, Extent{}, err
	}
	if a == 0 || l.Attachment != fragment.Attachment(a) {
		return nil, Extent{}, &StaleError{What: "attachment", Of: l.of(), Have: uint64(l.Attachment), Want: a}
	}
	last, _ := l.Last()
	c, err := s.chain(last.Epoch)
	if err != nil {
		return nil, Extent{}, err
	}
	if c.State != ChainOpen {
		return nil, Extent{}, &ChainStateError{Epoch: c.Epoch, Have: c.State, Want: ChainOpen}
	}
	return l, last, nil
}
