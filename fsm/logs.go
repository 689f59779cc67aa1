package fsm

import (
	"fmt"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

func (s *State) createLog(c *fsmpb.CreateLog) (Result, error) {
	if err := CheckName(c.GetName()); err != nil {
		return Result{}, err
	}
	config := configOf(c.GetConfig())
	if err := checkConfig(config); err != nil {
		return Result{}, err
	}
	if l, ok := s.LogByName(c.GetName()); ok {
		return Result{}, &ExistsError{Name: l.Name, ID: l.ID, Created: l.Created}
	}
	if s.highestLog >= highestMax {
		return Result{}, &InvalidError{Field: "log id", Reason: "all are given out"}
	}
	s.highestLog++
	l := &Log{
		ID:            s.highestLog,
		Name:          c.GetName(),
		Config:        config,
		ConfigVersion: 1,
		First:         1,
		Created:       fragment.Micros(c.GetCreatedMicros()),
	}
	s.putLog(l)
	return Result{Log: l}, nil
}

func (s *State) deleteLog(c *fsmpb.DeleteLog) (Result, error) {
	l, err := s.log(fragment.LogID(c.GetLog()))
	if err != nil {
		return Result{}, err
	}
	s.dropLog(l)
	return Result{Log: l}, nil
}

func (s *State) configureLog(c *fsmpb.ConfigureLog) (Result, error) {
	config := configOf(c.GetConfig())
	if err := checkConfig(config); err != nil {
		return Result{}, err
	}
	old, err := s.log(fragment.LogID(c.GetLog()))
	if err != nil {
		return Result{}, err
	}
	if c.GetVersion() != old.ConfigVersion {
		if c.GetVersion() == old.ConfigVersion-1 && config == old.Config {
			return Result{Log: old}, nil
		}
		return Result{}, &StaleError{What: "config version", Of: old.of(), Have: old.ConfigVersion, Want: c.GetVersion()}
	}
	next := *old
	next.Config = config
	next.ConfigVersion++
	s.putLog(&next)
	return Result{Log: &next}, nil
}

func (s *State) openExclusive(c *fsmpb.OpenExclusive) (Result, error) {
	old, _, err := s.owned(c.GetLog(), c.GetAttachment())
	if err != nil {
		return Result{}, err
	}
	switch g := c.GetGeneration(); {
	case g == 0:
		return Result{}, &InvalidError{Field: "generation", Reason: "is zero"}
	case g-1 != uint64(old.Generation):
		return Result{}, &StaleError{What: "generation", Of: old.of(), Have: uint64(old.Generation), Want: g - 1}
	}
	next := *old
	next.Generation++
	s.putLog(&next)
	return Result{Log: &next, Generation: next.Generation}, nil
}

// trim takes the proposer's word for the durable tail, but never goes beyond
// an end that the metadata knows.
func (s *State) trim(c *fsmpb.Trim) (Result, error) {
	old, err := s.log(fragment.LogID(c.GetLog()))
	if err != nil {
		return Result{}, err
	}
	before := fragment.LSN(c.GetBefore())
	if before <= old.First {
		return Result{Log: old}, nil
	}
	tail := min(fragment.LSN(c.GetTail()), lsnMax)
	if x, ok := old.Last(); !ok {
		tail = min(tail, old.First)
	} else if x.End != 0 {
		tail = min(tail, x.End)
	}
	if before > tail {
		return Result{}, &RangeError{What: "trim point", Of: old.of(), Value: uint64(before), From: 0, To: uint64(tail) + 1}
	}
	next := *old
	next.First = before
	next.Extents = untrimmed(old.Extents, before)
	s.putLog(&next)
	return Result{Log: &next}, nil
}

// untrimmed returns the extents without those that lie wholly below first,
// except for the last two: the last one may turn out blank, and then the chain
// of the one before holds where the producers stand. It writes to nothing.
func untrimmed(extents []Extent, first fragment.LSN) []Extent {
	for len(extents) > 2 && extents[0].End <= first {
		extents = extents[1:]
	}
	return extents
}

// of names the log in an error.
func (l *Log) of() string { return fmt.Sprintf("log %d", l.ID) }
