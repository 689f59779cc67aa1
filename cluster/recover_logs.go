package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/wal/offline"
)

// logs puts in the logs that the metadata lack, and where the others went. The
// newest first: of two with one name, the older one was deleted.
func (a *adoption) logs() error {
	for _, l := range slices.Collect(a.Logs("")) {
		if err := a.strip(l); err != nil {
			return fmt.Errorf("log %d: %w", l.ID, err)
		}
	}
	ids := slices.Sorted(maps.Keys(a.stays))
	for _, id := range slices.Backward(ids) {
		if err := a.log(id, a.stays[id]); err != nil {
			return fmt.Errorf("log %d: %w", id, err)
		}
	}
	for _, l := range slices.Collect(a.Logs("")) {
		if l.Generation == 0 || len(a.stays[l.ID]) > 0 {
			continue
		}
		if err := a.do(fsm.NewAdoptExtents(fsm.Log{ID: l.ID, Generation: leapt(l.Generation)}, 0, false)); err != nil {
			return fmt.Errorf("log %d: fence its exclusive writers: %w", l.ID, err)
		}
		a.report.Fenced++
	}
	return nil
}

// leapt is the generation that a log goes on with.
func leapt(g fragment.Generation) fragment.Generation {
	if g == 0 {
		return 0
	}
	return g + generationsLeap
}

func (a *adoption) log(id fragment.LogID, stays []offline.FoundStay) error {
	known, ok := a.Log(id)
	facts := factsOf(id, stays)
	switch {
	case !ok && id <= a.highest:
		if _, was := a.r.state.Log(id); !was { // else it was told, with who has its name
			a.report.drop(facts, "was deleted before the metadata were saved")
		}
		return nil
	case !ok:
		return a.adoptLog(facts, stays)
	case facts.Name != "" && facts.Name != known.Name, a.contradicted(known, stays):
		return a.rebuild(known, facts, stays)
	}
	last, _ := known.Last()
	since := slices.DeleteFunc(slices.Clone(stays), func(s offline.FoundStay) bool { return s.Attachment <= last.Attachment })
	next := fsm.Log{ID: id, First: facts.First, Generation: leapt(max(facts.Generation, known.Generation)), Extents: extentsOf(since, last)}
	if err := a.do(fsm.NewAdoptExtents(next, last.Attachment, a.blank(last, since))); err != nil {
		return a.rebuild(known, facts, stays)
	}
	state := logKnown
	if len(since) > 0 {
		state = logWentOn
	}
	a.tell(facts, state)
	return nil
}

// blank tells whether the last stay that the metadata know left nothing in the
// bucket, as what followed it was attached.
func (a *adoption) blank(last fsm.Extent, since []offline.FoundStay) bool {
	_, there := a.where[last.Attachment]
	return len(since) > 0 && last.Attachment != 0 && last.End == 0 && !there && since[0].First == last.First
}

// strip takes from a log what it never had: a stay of which the bucket tells that
// it is another log's, or on another chain, and all that came after it. The
// metadata may hold what was never committed.
func (a *adoption) strip(l *fsm.Log) error {
	i := slices.IndexFunc(l.Extents, func(x fsm.Extent) bool {
		s, ok := a.where[x.Attachment]
		return ok && (s.Log != l.ID || s.Epoch != x.Epoch)
	})
	if i < 0 {
		return nil
	}
	next := *l
	if next.Extents = l.Extents[:i]; i == 0 {
		next.First, next.Generation = 1, 0 // of a log that was never attached
	}
	if err := a.do(fsm.NewDeleteLog(l.ID)); err != nil {
		return err
	}
	if err := a.do(fsm.NewAdoptLog(next)); err != nil {
		return err
	}
	a.report.conflict("log %s (%d): attachment %d is not its own, as the bucket tells: it is taken away", l.Name, l.ID, l.Extents[i].Attachment)
	return nil
}

// contradicted tells whether the bucket has more of a log than the metadata say
// that there was when it was detached.
func (a *adoption) contradicted(l *fsm.Log, stays []offline.FoundStay) bool {
	last, ok := l.Last()
	return ok && last.End != 0 && slices.ContainsFunc(stays, func(s offline.FoundStay) bool {
		return s.Attachment == last.Attachment && s.End > last.End || s.Attachment > last.Attachment && s.First > last.End && s.First > l.First
	})
}

// facts is what the stays of a log tell of it.
type facts struct {
	fsm.Log
	tail    fragment.LSN
	missing bool
}

func factsOf(id fragment.LogID, stays []offline.FoundStay) facts {
	f := facts{Log: fsm.Log{ID: id, First: 1, Config: fsm.LogConfig{EntryBytesMax: fsm.EntryBytesMaxDefault}}, tail: 1}
	for _, s := range stays {
		if at := s.Attached; at != nil {
			f.Name, f.First = at.Name, max(f.First, at.Trim)
			if at.EntryBytesMax > 0 {
				f.Config.EntryBytesMax = min(at.EntryBytesMax, fsm.EntryBytesMaxLimit)
			}
		}
		f.Generation = max(f.Generation, s.Generation)
		f.tail, f.missing = max(f.tail, s.First, s.End), s.Missing
	}
	return f
}

// extentsOf makes extents of stays that follow the one before.
func extentsOf(stays []offline.FoundStay, before fsm.Extent) (all []fsm.Extent) {
	previous, first := before.Attachment, max(before.First, before.End, 1)
	for i, s := range stays {
		x := fsm.Extent{Epoch: s.Epoch, Attachment: s.Attachment, Previous: previous, First: cmp.Or(s.First, first)}
		if i > 0 {
			all[i-1].End = x.First
		}
		all = append(all, x)
		previous, first = x.Attachment, max(x.First, s.End)
	}
	return all
}

// adoptLog puts in a log that the metadata lack.
func (a *adoption) adoptLog(f facts, stays []offline.FoundStay) error {
	if f.Name == "" {
		f.Name = fmt.Sprintf("recovered-%d", f.ID)
		a.report.conflict("the name of log %d is lost: it is called %s now", f.ID, f.Name)
	}
	if other, ok := a.LogByName(f.Name); ok {
		if other.ID > f.ID {
			a.report.drop(f, fmt.Sprintf("was deleted: log %d has its name", other.ID))
			return nil
		}
		if err := a.do(fsm.NewDeleteLog(other.ID)); err != nil {
			return err
		}
		a.report.drop(facts{Log: *other}, fmt.Sprintf("was deleted since: log %d has its name", f.ID))
	}
	f.Created = a.opened[stays[0].Epoch]
	f.Generation = leapt(f.Generation)
	f.Extents = keptExtents(extentsOf(stays, fsm.Extent{}), f.First)
	if err := a.do(fsm.NewAdoptLog(f.Log)); err != nil {
		a.report.conflict("log %s (%d) can't be taken in: %v", f.Name, f.ID, err)
		return nil
	}
	a.tell(f, logAdopted)
	return nil
}

// keptExtents are those that metadata keep of a log: not those below the trim
// point, nor empty ones, but the last two in any case. What lies between the
// trim point and the first of them is lost, and is found to be when it is read.
func keptExtents(all []fsm.Extent, first fragment.LSN) (out []fsm.Extent) {
	for i, x := range all {
		if i >= len(all)-2 || x.End != x.First && x.End > first {
			out = append(out, x)
		}
	}
	if out[0].First > first {
		out[0].First = first
	}
	return out
}

// rebuild makes a log anew of what the metadata and the bucket say of it; where
// they contradict each other, the bucket is right.
func (a *adoption) rebuild(known *fsm.Log, f facts, stays []offline.FoundStay) error {
	merged := make(map[fragment.Attachment]offline.FoundStay)
	for _, x := range known.Extents {
		merged[x.Attachment] = offline.FoundStay{Log: known.ID, Attachment: x.Attachment, Epoch: x.Epoch, First: x.First, End: x.End}
	}
	for _, s := range stays {
		merged[s.Attachment] = s
	}
	all := slices.SortedFunc(maps.Values(merged), func(x, y offline.FoundStay) int { return cmp.Compare(x.Attachment, y.Attachment) })
	again := *known
	again.Name = cmp.Or(f.Name, known.Name)
	again.First = max(f.First, known.First)
	again.Generation = leapt(max(f.Generation, known.Generation))
	again.Extents = keptExtents(extentsOf(all, fsm.Extent{}), again.First)
	if err := a.do(fsm.NewDeleteLog(known.ID)); err != nil {
		return err
	}
	if err := a.do(fsm.NewAdoptLog(again)); err != nil {
		a.report.conflict("log %s (%d): the bucket contradicts the metadata, and what both say can't be put together: %v; it stays as the metadata have it", known.Name, known.ID, err)
		return a.do(fsm.NewAdoptLog(*known))
	}
	a.report.conflict("log %s (%d): the bucket contradicts the metadata, and counts", again.Name, again.ID)
	a.tell(f, logWentOn)
	return nil
}

// tell puts a log into the report, as it is now.
func (a *adoption) tell(f facts, state string) {
	l, _ := a.Log(f.ID)
	if l.Generation > 0 {
		a.report.Fenced++
	}
	a.report.Logs = append(a.report.Logs, RecoveredLog{
		Name: l.Name, ID: l.ID, State: state, First: l.First, Tail: f.tail, Missing: f.missing,
		Exclusive: l.Generation > 0,
	})
}
