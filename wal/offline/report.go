package offline

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/segment"
)

// Kind says in a word what is wrong with a bucket. Scripts may rely on them.
type Kind string

// The kinds of problems.
const (
	KindMissing   Kind = "missing"   // an object that must be there is not
	KindCorrupt   Kind = "corrupt"   // bytes are damaged
	KindMisplaced Kind = "misplaced" // an object stands in another's place
	KindGap       Kind = "gap"       // the store lost a fragment; a sealer found it and put a gap there
	KindHole      Kind = "hole"      // entries are nowhere, though no object is missing
	KindDouble    Kind = "double"    // entries stand twice
	KindOrder     Kind = "order"     // a producer's sequence, or the times of appends, are out of order
	KindMismatch  Kind = "mismatch"  // two things that must agree do not
	KindNewer     Kind = "newer"     // of a format that this program does not know: not checked
)

// The kinds of notes.
const (
	NoteForeign Kind = "foreign" // a key that is none of ours
	NoteOrphan  Kind = "orphan"  // behind the seal of its chain: never acknowledged, not read
	NotePending Kind = "pending" // behind the first hole of a chain that is not sealed: never acknowledged
	NoteOpen    Kind = "open"    // a chain that is not sealed: in use, or its writer died
)

// Problem is one thing that Verify found: what, where, and which entries.
type Problem struct {
	Kind    Kind           `json:"kind"`
	Object  string         `json:"object"`            // its key; a prefix where no key is known
	Objects uint64         `json:"objects,omitempty"` // so many objects in a row, if more than one
	Log     fragment.LogID `json:"log,omitempty"`     // 0: of no single log
	Name    string         `json:"name,omitempty"`    // of the log
	From    fragment.LSN   `json:"from,omitempty"`    // the entries [From, To) of the log; 0: none
	To      fragment.LSN   `json:"to,omitempty"`
	Detail  string         `json:"detail"`
}

func (p Problem) String() string {
	s := fmt.Sprintf("%-9s  %s", p.Kind, p.Object)
	if p.Objects > 1 {
		s += fmt.Sprintf(" and %d more", p.Objects-1)
	}
	if p.Log != 0 {
		s += fmt.Sprintf("  log %s@%d", p.Name, p.Log)
	}
	if p.From != 0 {
		s += fmt.Sprintf(" [%d, %d)", p.From, p.To)
	}
	return s + ": " + p.Detail
}

// Report is what Verify found.
type Report struct {
	Cluster string `json:"cluster"`
	Objects uint64 `json:"objects"`
	Bytes   uint64 `json:"bytes"`
	Chains  uint64 `json:"chains"`
	Sealed  uint64 `json:"sealed"` // chains with a seal
	Logs    uint64 `json:"logs"`
	Batches uint64 `json:"batches"`
	Entries uint64 `json:"entries"`
	Lost    uint64 `json:"lost"` // entries; of an unknown number, none are counted

	// Problems and Notes are kept up to a number, by object, log and LSN;
	// the totals count all.
	Problems      []Problem `json:"problems"`
	ProblemsTotal uint64    `json:"problems_total"`
	Notes         []Problem `json:"notes"`
	NotesTotal    uint64    `json:"notes_total"`
	NewerTotal    uint64    `json:"newer_total"` // of the problems, those of KindNewer

	keep int
}

// OK says that nothing is wrong, and that all of it could be checked.
func (r *Report) OK() bool { return r.ProblemsTotal == 0 }

// JSON is the report as one JSON object, without a newline; took is how long
// it took to make.
func (r *Report) JSON(took time.Duration) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(struct {
		OK bool `json:"ok"`
		*Report
		Seconds float64 `json:"seconds"`
	}{r.OK(), r, took.Seconds()})
	return bytes.TrimSpace(b.Bytes()), err
}

// Damaged says that something is lost or damaged, and not only too new to be
// checked.
func (r *Report) Damaged() bool { return r.ProblemsTotal > r.NewerTotal }

func (r *Report) problem(p Problem) {
	if p.Objects == 1 {
		p.Objects = 0
	}
	if r.ProblemsTotal++; p.Kind == KindNewer {
		r.NewerTotal++
	}
	if len(r.Problems) < r.keep {
		r.Problems = append(r.Problems, p)
	}
}

func (r *Report) note(p Problem) {
	if p.Objects == 1 {
		p.Objects = 0
	}
	if r.NotesTotal++; len(r.Notes) < r.keep {
		r.Notes = append(r.Notes, p)
	}
}

func (r *Report) sort() {
	for _, list := range [][]Problem{r.Problems, r.Notes} {
		slices.SortStableFunc(list, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Log, b.Log), cmp.Compare(a.From, b.From))
		})
	}
}

// kindOf says what an error of reading an object is.
func kindOf(err error) Kind {
	if _, ok := errors.AsType[*segment.MisplacedError](err); ok {
		return KindMisplaced
	}
	if _, ok := errors.AsType[*segment.LostError](err); ok {
		return KindGap
	}
	if _, ok := errors.AsType[*fragment.VersionError](err); ok {
		return KindNewer
	}
	if errors.Is(err, fs.ErrNotExist) {
		return KindMissing
	}
	return KindCorrupt
}

// reason is an error without what a Problem says anyway.
func reason(err error) string {
	if e, ok := errors.AsType[*fragment.CorruptError](err); ok {
		return fmt.Sprintf("at byte %d: %s", e.Offset, e.Reason)
	}
	if e, ok := errors.AsType[*segment.MisplacedError](err); ok {
		return fmt.Sprintf("what stands here belongs elsewhere: %s %d of chain %d, cluster %s", e.Kind, e.N, uint64(e.Epoch), e.Cluster)
	}
	if e, ok := errors.AsType[*jsonError](err); ok {
		return e.reason
	}
	if _, ok := errors.AsType[*segment.LostError](err); ok {
		return "a gap stands for a fragment that the store lost"
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "is not there"
	}
	return err.Error()
}
