package tamper

import (
	"cmp"
	"fmt"
	"net/http"
	"time"
)

// Kind is a kind of request, whatever the provider calls it.
type Kind string

// The kinds of requests. A fault for Any matches all.
const (
	Any    Kind = ""
	Create Kind = "create" // PUT, and POST at GCS
	Read   Kind = "read"   // GET and HEAD of an object
	List   Kind = "list"
	Delete Kind = "delete"
)

// Effect is what is done to a request.
type Effect string

// The effects. Of those up to Late the server hears nothing, or nothing yet; of
// the others it has answered when they are done.
const (
	// Pass does nothing: the request is left alone by later rules.
	Pass Effect = "pass"
	// Refuse answers with Fault.Status.
	Refuse Effect = "refuse"
	// Cut closes the connection at once.
	Cut Effect = "cut"
	// Reset takes half of the body, and resets the connection.
	Reset Effect = "reset"
	// Hang swallows the request and never answers; Release closes the
	// connection.
	Hang Effect = "hang"
	// Late holds the request back, for Fault.Delay or until Release, and
	// passes it to the server then, also if the client has given up.
	Late Effect = "late"

	// Lie answers with Fault.Status what the server has applied. Its other
	// answers pass.
	Lie Effect = "lie"
	// Drop closes the connection in place of the answer.
	Drop Effect = "drop"
	// Slow holds the answer back, for Fault.Delay or until Release.
	Slow Effect = "slow"
	// Short drops the last Fault.Bytes of an object's bytes from the answer,
	// which says nothing of it.
	Short Effect = "short"
	// Tear closes the connection before the last Fault.Bytes of an object's
	// bytes.
	Tear Effect = "tear"
	// Flip flips a bit in the last but Fault.Bytes-1 of an object's bytes.
	Flip Effect = "flip"
)

// The names under which the effects of a [Line] are counted.
const (
	Latency  = "latency"  // requests that were delayed
	Throttle = "throttle" // pieces of bodies that were delayed
)

// Fault says what happens to the requests it matches. The zero value of the
// matching fields matches every request.
type Fault struct {
	Kind   Kind
	Key    string                     // part of the object's key, or of a listing's prefix
	Match  func(r *http.Request) bool // nil: all; must leave the body alone
	Skip   int                        // so many matching requests pass first
	Count  int                        // so many are taken; 0: no limit
	Chance float64                    // that one that matches is taken; 0: always

	Do   Effect
	Name string // that it is counted under; empty: the effect, with the status if it has one, as in "refuse 503"

	Status     int           // of Refuse and Lie; 0: 503 and 412
	Code       string        // the provider's name for it; empty: the usual one for Status
	RetryAfter string        // the header of that name, in seconds, of Refuse and Lie; empty: none
	Delay      time.Duration // of Late and Slow; 0: until Release
	Bytes      int           // of Short, Tear and Flip; 0: one
}

// withDefaults fills what is zero.
func (f Fault) withDefaults() Fault {
	switch f.Do {
	case "":
		f.Do = Pass
	case Refuse:
		f.Status = cmp.Or(f.Status, http.StatusServiceUnavailable)
	case Lie:
		f.Status = cmp.Or(f.Status, http.StatusPreconditionFailed)
	case Pass, Cut, Reset, Hang, Late, Drop, Slow, Short, Tear, Flip:
	default:
		panic(fmt.Sprintf("tamper: there is no effect %q", f.Do))
	}
	f.Bytes = cmp.Or(f.Bytes, 1)
	if f.Name == "" {
		f.Name = string(f.Do)
		if f.Status != 0 {
			f.Name = fmt.Sprintf("%s %d", f.Do, f.Status)
		}
	}
	return f
}

// Count tells how often something took effect.
type Count struct {
	Hits int
	// Applied are those of Hits that the server has answered with success,
	// before or after.
	Applied int
	// GivenUp are those of Hits whose client closed the connection before the
	// end of a Hang, a Late or a Slow.
	GivenUp int
	// Overtaken are those of Hits of a Late that went to the server after it
	// had answered another request of the same kind for the same key.
	Overtaken int
}
