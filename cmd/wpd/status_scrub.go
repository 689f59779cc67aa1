package main

import (
	"fmt"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/wal/offline"
)

// scrubStatus is a node's scrub at a glance.
type scrubStatus struct {
	State         string         `json:"state"` // off, waiting (for its first pass), reading or resting
	Passes        uint64         `json:"passes"`
	Began         *time.Time     `json:"began,omitempty"` // the last pass
	Ended         *time.Time     `json:"ended,omitempty"` // the last one that has
	Objects       uint64         `json:"objects"`         // of the last pass, so far
	ObjectsOf     uint64         `json:"objects_of"`
	Bytes         uint64         `json:"bytes"`
	Skipped       uint64         `json:"skipped"`
	ProblemsTotal uint64         `json:"problems_total"`
	Problems      []scrubProblem `json:"problems"`
}

type scrubProblem struct {
	offline.Problem
	Since time.Time `json:"since"`
}

// statusProblemsMax is how many problems a person is shown; -o json has more.
const statusProblemsMax = 10

func scrubOf(s *adminv1.Scrub) *scrubStatus {
	if s == nil {
		return nil // an older node's
	}
	x := &scrubStatus{
		State: "waiting", Passes: s.GetPasses(), Began: timeOf(s.GetBeganMicros()), Ended: timeOf(s.GetEndedMicros()),
		Objects: s.GetObjects(), ObjectsOf: s.GetObjectsOf(), Bytes: s.GetBytes(), Skipped: s.GetSkipped(),
		ProblemsTotal: s.GetProblemsTotal(), Problems: []scrubProblem{},
	}
	switch {
	case s.GetOff():
		x.State = "off"
	case s.GetBeganMicros() > s.GetEndedMicros():
		x.State = "reading"
	case s.GetEndedMicros() != 0:
		x.State = "resting"
	}
	for _, p := range s.GetProblems() {
		x.Problems = append(x.Problems, scrubProblem{offline.Problem{
			Kind: offline.Kind(p.GetKind()), Object: p.GetObject(), Objects: p.GetObjects(), Log: fragment.LogID(p.GetLogId()), Name: p.GetLog(),
			From: fragment.LSN(p.GetFrom()), To: fragment.LSN(p.GetTo()), Detail: p.GetDetail(),
		}, time.UnixMicro(p.GetSinceMicros()).UTC()})
	}
	return x
}

// timeOf is a time that crossed the wire; nil: there is none.
func timeOf(micros int64) *time.Time {
	if micros == 0 {
		return nil
	}
	t := time.UnixMicro(micros).UTC()
	return &t
}

// lines says in words how the scrub is, one line for each problem.
func (s *scrubStatus) lines(ink ink) []string {
	last := ""
	if s.Ended != nil {
		last = ink.dim("  a pass ended " + s.Ended.Local().Format(time.DateTime))
	}
	var text string
	switch s.State {
	case "off":
		text = "off: scrub_rate is 0"
	case "waiting":
		text = "the first pass has not begun"
	case "reading":
		text = fmt.Sprintf("reading: %s of about %s, %s", countText(s.Objects), plural(int(s.ObjectsOf), "object"), sizeText(int64(s.Bytes))) + last
	default:
		text = "has read " + plural(int(s.Objects), "object") + ", " + sizeText(int64(s.Bytes)) + last
	}
	switch {
	case s.ProblemsTotal > 0:
		text = ink.red(plural(int(s.ProblemsTotal), "problem")) + "; " + text
	case s.Passes > 0:
		text = "nothing wrong; " + text
	}
	if s.Skipped > 0 {
		text += ink.red(fmt.Sprintf("  %s could not be read", plural(int(s.Skipped), "object")))
	}
	all := []string{text}
	shown := s.Problems[:min(len(s.Problems), statusProblemsMax)]
	for _, p := range shown {
		all = append(all, ink.red(p.String()))
	}
	if left := int(s.ProblemsTotal) - len(shown); left > 0 {
		all = append(all, ink.red("… and "+plural(left, "more problem")))
	}
	return all
}
