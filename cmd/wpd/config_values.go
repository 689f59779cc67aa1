package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value is where a setting goes. It parses what a flag, a variable or a file
// says, and refuses what is out of range.
type value interface {
	Set(string) error // of pflag.Value
	String() string
	Type() string
	// values says in a few words what Set takes.
	values() string
}

// textValue is a word that check likes.
type textValue struct {
	p     *string
	kind  string // for --help
	wants string
	check func(string) bool // nil: anything goes
	words []string          // all that there are; nil: more than can be listed
}

func (v *textValue) Set(s string) error {
	if v.check != nil && !v.check(s) {
		return errors.New("want " + v.wants)
	}
	*v.p = s
	return nil
}

func (v *textValue) String() string { return *v.p }
func (v *textValue) Type() string   { return v.kind }
func (v *textValue) values() string { return v.wants }

// text is any text.
func text(p *string, kind, wants string) value { return &textValue{p: p, kind: kind, wants: wants} }

// choice is one of some words.
func choice(p *string, words ...string) value {
	return &textValue{p, "word", strings.Join(words, ", "), func(s string) bool { return slices.Contains(words, s) }, words}
}

// address is HOST:PORT; noneWord, where that is allowed, is the empty one.
func address(p *string, none bool) value {
	v := &textValue{p: p, kind: "address", wants: "HOST:PORT; port 0: any that is free"}
	if none {
		v.wants += "; none: no such listener"
	}
	v.check = func(s string) bool {
		_, port, err := net.SplitHostPort(s)
		n, perr := strconv.ParseUint(port, 10, 16)
		return err == nil && perr == nil && n <= math.MaxUint16 || none && s == noneWord
	}
	return v
}

// noneWord switches something off that would be a text otherwise.
const noneWord = "none"

// boolValue is yes or no.
type boolValue struct{ p *bool }

func (v boolValue) Set(s string) error {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return errors.New("want " + v.values())
	}
	*v.p = b
	return nil
}

func (v boolValue) String() string { return strconv.FormatBool(*v.p) }
func (boolValue) Type() string     { return "bool" }
func (boolValue) values() string   { return "true or false" }

// span is a range of values, both ends included; zero says that 0 lies in it
// too, wherever it begins.
type span[T int | int64 | uint32 | uint64 | time.Duration] struct {
	from, to T
	zero     bool
}

func (r span[T]) has(v T) bool { return r.from <= v && v <= r.to || r.zero && v == 0 }

func (r span[T]) text(show func(T) string) string {
	s := show(r.from) + " to " + show(r.to)
	if r.zero && r.from > 0 {
		s = "0, or " + s
	}
	return s
}

// countValue is a number of things.
type countValue[T int | uint32 | uint64] struct {
	p *T
	r span[T]
}

func count[T int | uint32 | uint64](p *T, from, to T) value {
	return countValue[T]{p, span[T]{from, to, false}}
}

func (v countValue[T]) Set(s string) error {
	n, err := strconv.ParseUint(strings.ReplaceAll(s, ",", ""), 10, 63)
	if err != nil || uint64(T(n)) != n || !v.r.has(T(n)) {
		return errors.New("want " + v.values())
	}
	*v.p = T(n)
	return nil
}

func (v countValue[T]) String() string { return fmt.Sprint(*v.p) }
func (countValue[T]) Type() string     { return "count" }
func (v countValue[T]) values() string {
	return v.r.text(func(n T) string { return countText(uint64(n)) })
}

// sizeValue is a number of bytes. Where none is set, 0 is stored as -1, which
// means "none at all" to a field whose 0 means its default.
type sizeValue[T int | int64] struct {
	p    *T
	r    span[T]
	none bool
}

func size[T int | int64](p *T, from, to T) value {
	return sizeValue[T]{p, span[T]{from, to, false}, false}
}

// sizeOrNone is a size, or 0 for none at all.
func sizeOrNone(p *int64, from, to int64) value {
	return sizeValue[int64]{p, span[int64]{from, to, true}, true}
}

// sizeOrDefault is a size, or 0 for what follows from other settings.
func sizeOrDefault(p *int64, from, to int64) value {
	return sizeValue[int64]{p, span[int64]{from, to, true}, false}
}

func (v sizeValue[T]) Set(s string) error {
	var b byteSize
	if err := b.Set(s); err != nil {
		return err
	}
	if !v.r.has(T(b)) {
		return errors.New("want " + v.values())
	}
	if *v.p = T(b); b == 0 && v.none {
		*v.p = -1
	}
	return nil
}

func (v sizeValue[T]) String() string { return sizeKnobText(max(*v.p, 0)) }
func (sizeValue[T]) Type() string     { return "bytes" }
func (v sizeValue[T]) values() string { return v.r.text(sizeKnobText) }

func sizeKnobText[T int | int64](n T) string {
	b := byteSize(n)
	return b.String()
}

// timeValue is a duration.
type timeValue struct {
	p *time.Duration
	r span[time.Duration]
}

func duration(p *time.Duration, from, to time.Duration) value {
	return timeValue{p, span[time.Duration]{from, to, false}}
}

func (v timeValue) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return errors.New("want a time, for example 10ms, 1.5s or 10m")
	}
	if !v.r.has(d) {
		return errors.New("want " + v.values())
	}
	*v.p = d
	return nil
}

func (v timeValue) String() string { return durationText(*v.p) }
func (timeValue) Type() string     { return "time" }
func (v timeValue) values() string { return v.r.text(durationText) }

// durationText is a time as one would write it: 10m, not 10m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	if d == 0 {
		s = "0"
	}
	return s
}
