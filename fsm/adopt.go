package fsm

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

func (s *State) adoptChain(c *fsmpb.AdoptChain) (Result, error) {
	adopted := &Chain{
		Epoch:       fragment.Epoch(c.GetEpoch()),
		Node:        c.GetNode(),
		Boot:        c.GetBoot(),
		Incarnation: c.GetIncarnation(),
		Window:      c.GetWindow(),
		Kind:        ChainKind(c.GetKind()),
		Log:         fragment.LogID(c.GetLog()),
		State:       ChainSealing,
		Sealer:      c.GetSealer(),
	}
	for _, x := range c.GetCuts() {
		adopted.Cuts = append(adopted.Cuts, Cut{From: x.GetFrom(), To: x.GetTo(), Index: refOf(x.GetIndex())})
	}
	if old, ok := s.Chain(adopted.Epoch); ok {
		if !old.sameGrant(adopted) {
			return Result{}, &ChainExistsError{Epoch: old.Epoch, Node: old.Node, Boot: old.Boot}
		}
		return Result{Epoch: old.Epoch}, nil
	}
	if err := cmp.Or(s.checkGrant(adopted), adopted.checkSegments()); err != nil {
		return Result{}, &InvalidError{Field: "chain " + adopted.Epoch.String(), Reason: err.Error()}
	}
	if _, err := s.live(adopted.Sealer); err != nil {
		return Result{}, err
	}
	s.putChain(adopted)
	return Result{Epoch: adopted.Epoch}, nil
}

// sameGrant compares what never changes about a chain.
func (c *Chain) sameGrant(o *Chain) bool {
	return c.Epoch == o.Epoch && c.Node == o.Node && c.Boot == o.Boot && c.Incarnation == o.Incarnation &&
		c.Window == o.Window && c.Kind == o.Kind && c.Log == o.Log
}

func (s *State) adoptLog(c *fsmpb.AdoptLog) (Result, error) {
	adopted := &Log{
		ID:            fragment.LogID(c.GetLog()),
		Name:          c.GetName(),
		Config:        configOf(c.GetConfig()),
		ConfigVersion: 1,
		Generation:    fragment.Generation(c.GetGeneration()),
		First:         fragment.LSN(c.GetFirst()),
		Created:       fragment.Micros(c.GetCreatedMicros()),
		Extents:       extentsOf(c.GetExtents()),
	}
	adopted.attach()
	if old, ok := s.taken(adopted); ok {
		if !old.equal(adopted) {
			return Result{}, &ExistsError{Name: old.Name, ID: old.ID, Created: old.Created}
		}
		return Result{Log: old}, nil
	}
	if err := CheckName(adopted.Name); err != nil {
		return Result{}, err
	}
	if err := s.checkAdopted(adopted, adopted.Extents); err != nil {
		return Result{}, &InvalidError{Field: adopted.of(), Reason: err.Error()}
	}
	s.putLog(adopted)
	return Result{Log: adopted}, nil
}

// attach makes the log's attachment what its last extent says.
func (l *Log) attach() {
	l.Attachment = 0
	if last, ok := l.Last(); ok && last.End == 0 {
		l.Attachment = last.Attachment
	}
}

// taken returns the log that has the other's id or its name.
func (s *State) taken(l *Log) (*Log, bool) {
	if old, ok := s.Log(l.ID); ok {
		return old, true
	}
	return s.LogByName(l.Name)
}

func (l *Log) equal(o *Log) bool {
	return l.ID == o.ID && l.Name == o.Name && l.Config == o.Config && l.ConfigVersion == o.ConfigVersion &&
		l.Generation == o.Generation && l.First == o.First && l.Created == o.Created && slices.Equal(l.Extents, o.Extents)
}

func (s *State) adoptExtents(c *fsmpb.AdoptExtents) (Result, error) {
	old, err := s.log(fragment.LogID(c.GetLog()))
	if err != nil {
		return Result{}, err
	}
	adopted, last := extentsOf(c.GetExtents()), Extent{}
	if x, ok := old.Last(); ok {
		last = x
		if n := len(adopted); n > 0 && adopted[n-1] == last {
			adopted = nil // all are there
		}
	}
	next := *old
	next.First = max(old.First, fragment.LSN(c.GetFirst()))
	next.Generation = max(old.Generation, fragment.Generation(c.GetGeneration()))
	if len(adopted) == 0 && next.First == old.First && next.Generation == old.Generation {
		return Result{Log: old}, nil
	}
	if at, ok := s.Owner(old.ID); ok {
		return Result{}, &AttachedError{Log: old.ID, Epoch: at.Epoch, Attachment: last.Attachment}
	}
	if len(adopted) > 0 {
		if uint64(last.Attachment) != c.GetPrevious() {
			return Result{}, &StaleError{What: "attachment", Of: old.of(), Have: uint64(last.Attachment), Want: c.GetPrevious()}
		}
		if c.GetBlank() {
			if err := s.checkBlank(old, last, adopted[0].First); err != nil {
				return Result{}, err
			}
		}
		if err := next.goOn(adopted, c.GetBlank()); err != nil {
			return Result{}, err
		}
	}
	next.Extents = untrimmed(next.Extents, next.First)
	next.attach()
	if err := s.checkAdopted(&next, adopted); err != nil {
		return Result{}, &InvalidError{Field: old.of(), Reason: err.Error()}
	}
	s.putLog(&next)
	return Result{Log: &next}, nil
}

// goOn adds extents behind the last one, or in its place if that is blank.
func (l *Log) goOn(adopted []Extent, blank bool) error {
	for i, x := range adopted {
		before, _ := l.Last()
		switch known := i > 0 || before.End != 0; {
		case i > 0 && before.End == 0:
			return &InvalidError{Field: l.of(), Reason: fmt.Sprintf("the extent of attachment %d has no end and is not the last", before.Attachment)}
		case i == 0 && before.End < x.First && x.First <= l.First:
			// What lay between was on chains that nothing of the log is
			// left on.
		case known && x.First != before.End:
			return &RangeError{What: "first LSN", Of: l.of(), Value: uint64(x.First), From: uint64(before.End), To: uint64(before.End) + 1}
		}
		l.Extents = extended(l.Extents, x, blank && i == 0)
	}
	return nil
}
