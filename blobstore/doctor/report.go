package doctor

import (
	"fmt"
	"time"
)

// Verdict is what was found of a promise.
type Verdict string

// The verdicts.
const (
	Kept    Verdict = "kept"
	Broken  Verdict = "broken"  // it was seen
	Unclear Verdict = "unclear" // it could not be tested to the end
)

// Finding is what was found of one promise.
type Finding struct {
	Promise string  `json:"promise"` // a short name, for programs
	What    string  `json:"what"`    // what the store is to do
	Verdict Verdict `json:"verdict"`
	Seen    string  `json:"seen"` // how it was tested, or what was seen instead
}

// Clock is how far the store's clock is from ours: positive, if it is ahead. The
// truth lies within [Min, Max].
type Clock struct {
	Min time.Duration `json:"min_ns"`
	Max time.Duration `json:"max_ns"`
}

// Report is what an examination has found.
type Report struct {
	Bucket    string    `json:"bucket"` // its URL, without secrets
	Result    Verdict   `json:"verdict"`
	Findings  []Finding `json:"findings"`
	Conflict  string    `json:"conflict,omitempty"` // what the store says of a create that is refused
	Clock     *Clock    `json:"clock,omitempty"`    // nil: the store does not tell the time
	Speeds    []Speed   `json:"speeds,omitempty"`
	Processes int       `json:"processes"` // that raced
	Seconds   float64   `json:"seconds"`   // that it all took
	Left      string    `json:"left,omitempty"`
}

// Verdict is that of the store: broken, if one promise is; else unclear, if one
// is; else kept.
func (r *Report) Verdict() Verdict {
	v := Kept
	for _, f := range r.Findings {
		switch f.Verdict {
		case Broken:
			return Broken
		case Unclear:
			v = Unclear
		}
	}
	return v
}

// Count counts the findings with a verdict.
func (r *Report) Count(v Verdict) int {
	n := 0
	for _, f := range r.Findings {
		if f.Verdict == v {
			n++
		}
	}
	return n
}

// brokenError is a promise that was seen to be broken.
type brokenError struct{ saw string }

func (e *brokenError) Error() string { return e.saw }

func brokenf(format string, args ...any) error {
	return &brokenError{fmt.Sprintf(format, args...)}
}

// unclearError is what kept a promise from being tested, in our own words.
type unclearError struct{ why string }

func (e *unclearError) Error() string { return e.why }
