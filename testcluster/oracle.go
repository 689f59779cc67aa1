package testcluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wpd-io/wpd"
)

// Rule names what a violation breaks.
type Rule string

// The rules of Check.
const (
	RuleLost     Rule = "acknowledged, and not there with the same bytes at the same LSN"
	RuleRefused  Rule = "refused, and there"
	RuleTwice    Rule = "there twice"
	RuleOrder    Rule = "the entries of a producer are not in its order"
	RuleHole     Rule = "a producer's entry is missing, a later one is there"
	RuleRealTime Rule = "sent after another was acknowledged, and before it in the log"
	RuleDense    Rule = "LSNs are not dense"
	RuleAtomic   Rule = "part of a batch is there"
	RuleChanged  Rule = "what was once read has changed"
	RuleForeign  Rule = "nobody appended it"
	RuleResume   Rule = "not what the producer was told when it was opened"
	RuleTail     Rule = "a tail that hides what was acknowledged, or shows what is not there"
	RuleTrimmed  Rule = "trimmed, and nobody asked for it"
	RuleDataLoss Rule = "data loss that no fault explains"
	RuleVacuous  Rule = "too little was tried"
)

// violationsMax bounds how many violations an error spells out.
const violationsMax = 20

// Violation is one broken promise.
type Violation struct {
	Rule Rule
	What string
}

// Range is a range of LSNs, half-open.
type Range struct{ From, To wpd.LSN }

func (r Range) holds(lsn wpd.LSN) bool { return r.From <= lsn && lsn < r.To }

// Contents is a log as it was read back, from its first LSN to its tail.
type Contents struct {
	Log         string // its name in the ledger
	First, Tail wpd.LSN
	Entries     []wpd.Entry
	Lost        []Range // reported as data loss
}

// ReadBack reads all of a log. What it reads is noted in the ledger as seen,
// and must be what was seen before.
func ReadBack(ctx context.Context, log *wpd.Log, name string, l *Ledger) (Contents, error) {
	info, err := log.Info(ctx)
	if err != nil {
		return Contents{}, fmt.Errorf("read back %s: %w", name, err)
	}
	now := l.Now()
	tail, err := log.Tail(ctx, wpd.Linearizable())
	if err != nil {
		return Contents{}, fmt.Errorf("read back %s: %w", name, err)
	}
	l.Tail(name, now, tail)
	c := Contents{Log: name, First: info.First, Tail: tail}
	for e, err := range log.Read(ctx, wpd.Earliest, wpd.To(max(tail, info.First))) {
		if lost, ok := errors.AsType[*wpd.DataLossError](err); ok {
			c.Lost = append(c.Lost, Range{lost.From, lost.To})
			continue
		}
		if err != nil {
			return c, fmt.Errorf("read back %s: %w", name, err)
		}
		if err := l.Saw(name, e); err != nil {
			return c, fmt.Errorf("read back %s: %w", name, err)
		}
		c.Entries = append(c.Entries, e)
	}
	return c, nil
}

// Expect says what a check demands beyond the promises.
type Expect struct {
	AcknowledgedMin int                // entries
	Faults          map[string]int     // at least so many of each took effect
	Lost            map[string][]Range // what a fault has destroyed, by log
}

// Report counts what a check has looked at, in entries.
type Report struct {
	Acknowledged, Stored, Refused, Unknown int
	UnknownThere                           int
	Logs, Entries                          int
	Violations                             []Violation
}

// Err is nil if nothing was violated.
func (r Report) Err() error {
	if len(r.Violations) == 0 {
		return nil
	}
	var b strings.Builder
	for i, v := range r.Violations {
		if i == violationsMax {
			fmt.Fprintf(&b, "\n  and %d more", len(r.Violations)-i)
			break
		}
		fmt.Fprintf(&b, "\n  %s: %s", v.Rule, v.What)
	}
	return fmt.Errorf("%d violations:%s", len(r.Violations), b.String())
}

// Check holds what was read back of all logs against a ledger. Nobody may
// write to it meanwhile.
func Check(l *Ledger, logs []Contents, expect Expect) Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &checker{Ledger: l, expect: expect, places: make(map[uint64][]place)}
	for _, log := range logs {
		c.contents(log)
	}
	c.byLog = make(map[string]Contents, len(logs))
	for _, log := range logs {
		c.byLog[log.Log] = log
	}
	for _, a := range l.order {
		c.append(a)
	}
	c.producers()
	c.realTime()
	c.resumes()
	c.tails()
	c.vacuous()
	return c.report
}

// place is where an entry of an append was found.
type place struct {
	index int
	lsn   wpd.LSN
}

type checker struct {
	*Ledger
	expect Expect
	report Report
	byLog  map[string]Contents
	places map[uint64][]place // by nonce, by LSN
}

func (c *checker) violated(r Rule, format string, args ...any) {
	c.report.Violations = append(c.report.Violations, Violation{r, fmt.Sprintf(format, args...)})
}

// contents looks at one log for itself: dense, all of it ours, as seen before.
func (c *checker) contents(log Contents) {
	c.report.Logs++
	c.report.Entries += len(log.Entries)
	if most := max(c.trims[log.Log], 1); log.First > most {
		c.violated(RuleTrimmed, "log %s begins at %d, it was trimmed before %d", log.Log, log.First, most)
	}
	for _, r := range log.Lost {
		if !slices.ContainsFunc(c.expect.Lost[log.Log], func(x Range) bool { return x.From <= r.From && r.To <= x.To }) {
			c.violated(RuleDataLoss, "log %s: [%d, %d) is said to be lost", log.Log, r.From, r.To)
		}
	}
	next := log.First
	skip := func() {
		for _, r := range log.Lost {
			if r.holds(next) {
				next = r.To
			}
		}
	}
	for _, e := range log.Entries {
		if skip(); e.LSN != next {
			c.violated(RuleDense, "log %s: LSN %d follows where %d should", log.Log, e.LSN, next)
		}
		next = e.LSN + 1
		c.entry(log.Log, e)
	}
	if skip(); next != log.Tail {
		c.violated(RuleDense, "log %s: the entries end at %d, the tail is %d", log.Log, next, log.Tail)
	}
	for lsn := range c.seen[log.Log] {
		if lsn >= log.Tail {
			c.violated(RuleChanged, "log %s: LSN %d was read once, and the tail is %d now", log.Log, lsn, log.Tail)
		}
	}
}

func (c *checker) entry(log string, e wpd.Entry) {
	if err := c.sawLocked(log, e.LSN, checksum(e.Data)); err != nil {
		c.violated(RuleChanged, "%v", err)
	}
	got, err := ParseEntry(e.Data)
	if err != nil {
		c.violated(RuleForeign, "log %s, LSN %d: %v", log, e.LSN, err)
		return
	}
	a := c.appends[got.Nonce]
	if a == nil || got.Index < 0 || got.Index >= a.Count || a.Log != log || a.Entry(c.Run, got.Index) != got {
		c.violated(RuleForeign, "log %s, LSN %d: %+v was never appended there", log, e.LSN, got)
		return
	}
	c.places[got.Nonce] = append(c.places[got.Nonce], place{got.Index, e.LSN})
}

// append looks at one append: what it was told, and what of it is there.
func (c *checker) append(a *Append) {
	log, read := c.byLog[a.Log]
	if !read {
		if a.Outcome == Acknowledged {
			c.violated(RuleLost, "%s: log %s was not read back", a, a.Log)
		}
		return
	}
	at := c.places[a.Nonce]
	gone := func(lsn wpd.LSN) bool { // for a reason that is known
		return lsn < log.First || slices.ContainsFunc(c.expect.Lost[a.Log], func(r Range) bool { return r.holds(lsn) })
	}
	switch a.Outcome {
	case Acknowledged:
		c.report.Acknowledged += a.Count
		for i := range a.Count {
			lsn := a.LSN + wpd.LSN(i)
			if !gone(lsn) && !slices.Contains(at, place{i, lsn}) {
				c.violated(RuleLost, "%s, entry %d: should be at %d; found at %v", a, i, lsn, at)
			}
		}
	case Stored:
		c.report.Stored += a.Count
		if len(at) == 0 && log.First == 1 && len(c.expect.Lost[a.Log]) == 0 {
			c.violated(RuleLost, "%s: is not there", a)
		}
	case Refused:
		c.report.Refused += a.Count
		if len(at) > 0 {
			c.violated(RuleRefused, "%s (%s): found at %v", a, a.Reason, at)
		}
	default:
		c.report.Unknown += a.Count
		if len(at) > 0 {
			c.report.UnknownThere += a.Count
		}
	}
	c.batch(a, at, gone)
}

// batch checks that an append is there whole and once, or not at all.
func (c *checker) batch(a *Append, at []place, gone func(wpd.LSN) bool) {
	if len(at) == 0 {
		return
	}
	if len(at) > a.Count {
		c.violated(RuleTwice, "%s: found at %v", a, at)
		return
	}
	first := at[0].lsn - wpd.LSN(at[0].index)
	for i := range a.Count {
		p := place{i, first + wpd.LSN(i)}
		if !slices.Contains(at, p) && !gone(p.lsn) {
			c.violated(RuleAtomic, "%s: entry %d is not at %d; found %v", a, i, p.lsn, at)
			return
		}
	}
}

func (a *Append) String() string {
	return fmt.Sprintf("append %x of %s to %s (sequence %d, %d entries, %s at %d)",
		a.Nonce, a.Producer, a.Log, a.Seq, a.Count, a.Outcome, a.LSN)
}

// producers checks, per log and producer, that what is there stands in the
// order of the sequences, each once, and without a hole.
func (c *checker) producers() {
	type key struct{ log, producer string }
	all := make(map[key][]*Append)
	for _, a := range c.order {
		k := key{a.Log, a.Producer}
		all[k] = append(all[k], a)
	}
	for _, k := range slices.SortedFunc(maps.Keys(all), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.log, b.log), cmp.Compare(a.producer, b.producer))
	}) {
		c.producer(all[k])
	}
}

func (c *checker) producer(appends []*Append) {
	there := slices.DeleteFunc(slices.Clone(appends), func(a *Append) bool { return len(c.places[a.Nonce]) == 0 })
	slices.SortFunc(there, func(a, b *Append) int { return cmp.Compare(c.places[a.Nonce][0].lsn, c.places[b.Nonce][0].lsn) })
	stored := make(map[uint64]bool)
	for i, a := range there {
		for s := range uint64(a.Count) {
			if stored[a.Seq+s] {
				c.violated(RuleTwice, "%s: sequence %d is there from another append too", a, a.Seq+s)
			}
			stored[a.Seq+s] = true
		}
		if i > 0 && there[i-1].Seq >= a.Seq {
			c.violated(RuleOrder, "%s at %d comes behind %s", a, c.places[a.Nonce][0].lsn, there[i-1])
		}
	}
	if len(there) == 0 {
		return
	}
	// An entry of which nothing is known may be missing only at the end.
	first, last := there[0].Seq, there[len(there)-1].Seq
	for _, a := range appends {
		if (a.Outcome == Open || a.Outcome == Unknown) && !a.Conditional && first < a.Seq && a.Seq < last && !stored[a.Seq] && !c.lostSomething(a.Log) {
			c.violated(RuleHole, "%s is not there, sequence %d is", a, last)
		}
	}
}

func (c *checker) lostSomething(log string) bool { return len(c.expect.Lost[log]) > 0 }

// realTime checks that what was sent after something was acknowledged stands
// behind it.
func (c *checker) realTime() {
	type event struct {
		at int
		a  *Append
	}
	events := make([]event, 0, 2*len(c.order))
	for _, a := range c.order {
		events = append(events, event{a.sent, a})
		if a.Outcome == Acknowledged {
			events = append(events, event{a.settled, a})
		}
	}
	slices.SortFunc(events, func(x, y event) int { return cmp.Compare(x.at, y.at) })
	highest := make(map[string]*Append)
	for _, e := range events {
		high := highest[e.a.Log]
		if e.at == e.a.settled {
			if high == nil || high.LSN < e.a.LSN {
				highest[e.a.Log] = e.a
			}
			continue
		}
		if at := c.places[e.a.Nonce]; len(at) > 0 && high != nil && at[0].lsn < high.LSN {
			c.violated(RuleRealTime, "%s, found at %d, was sent after %s", e.a, at[0].lsn, high)
		}
	}
}

// resumes checks what producers were told when they were opened: all up to
// there is stored, and whatever was sent before and lies above never is.
func (c *checker) resumes() {
	type key struct{ log, producer string }
	all := make(map[key][]*Append)
	for _, a := range c.order {
		k := key{a.Log, a.Producer}
		all[k] = append(all[k], a)
	}
	for _, r := range c.Ledger.resumes {
		c.covered(r, all[key{r.log, r.producer}])
		for _, a := range all[key{r.log, r.producer}] {
			last := a.Seq + uint64(a.Count) - 1
			at := c.places[a.Nonce]
			switch {
			case a.sent > r.at:
				if a.Seq <= r.stored {
					c.violated(RuleResume, "%s was sent after the producer was told that %d are stored", a, r.stored)
				}
			case a.Outcome == Acknowledged && a.settled < r.at && last > r.stored:
				c.violated(RuleResume, "%s was acknowledged before the producer was told that %d are stored", a, r.stored)
			case len(at) > 0 && last > r.stored:
				c.violated(RuleResume, "%s is at %d, though the producer was then told that only %d are stored", a, at[0].lsn, r.stored)
			}
		}
	}
}

// covered checks that all that a producer was told to be stored is there.
func (c *checker) covered(r resumed, appends []*Append) {
	log, read := c.byLog[r.log]
	if !read || log.First > 1 || c.lostSomething(r.log) {
		return
	}
	there := make(map[uint64]bool)
	for _, a := range appends {
		if len(c.places[a.Nonce]) > 0 {
			for i := range uint64(a.Count) {
				there[a.Seq+i] = true
			}
		}
	}
	for s := uint64(1); s <= r.stored; s++ {
		if !there[s] {
			c.violated(RuleResume, "producer %s of %s was told that %d are stored, and sequence %d is not there", r.producer, r.log, r.stored, s)
			return
		}
	}
}

// tails checks the durable tails that were told: they show all that was
// acknowledged before they were asked for, and nothing that is not there.
func (c *checker) tails() {
	for _, t := range c.Ledger.tails {
		if log, ok := c.byLog[t.log]; ok && t.lsn > log.Tail {
			c.violated(RuleTail, "log %s: the tail was %d once, it is %d now", t.log, t.lsn, log.Tail)
		}
	}
	type event struct {
		at   int
		ack  *Append
		tail *tailed
	}
	var events []event
	for _, a := range c.order {
		if a.Outcome == Acknowledged {
			events = append(events, event{at: a.settled, ack: a})
		}
	}
	for i := range c.Ledger.tails {
		events = append(events, event{at: c.Ledger.tails[i].from, tail: &c.Ledger.tails[i]})
	}
	slices.SortStableFunc(events, func(x, y event) int { return cmp.Compare(x.at, y.at) })
	end := make(map[string]*Append)
	for _, e := range events {
		if e.ack != nil {
			if h := end[e.ack.Log]; h == nil || h.LSN < e.ack.LSN {
				end[e.ack.Log] = e.ack
			}
			continue
		}
		if h := end[e.tail.log]; h != nil && h.LSN+wpd.LSN(h.Count) > e.tail.lsn {
			c.violated(RuleTail, "log %s: the tail is said to be %d after %s", e.tail.log, e.tail.lsn, h)
		}
	}
}

func (c *checker) vacuous() {
	if c.report.Acknowledged < c.expect.AcknowledgedMin {
		c.violated(RuleVacuous, "%d entries were acknowledged, want %d", c.report.Acknowledged, c.expect.AcknowledgedMin)
	}
	for _, name := range slices.Sorted(maps.Keys(c.expect.Faults)) {
		if have, want := c.faults[name], c.expect.Faults[name]; have < want {
			c.violated(RuleVacuous, "fault %q took effect %d times, want %d", name, have, want)
		}
	}
}
