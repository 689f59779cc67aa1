package wal

import (
	"errors"

	"github.com/wpd-io/wpd/wal/api"
)

// The reasons that decide something here.
const (
	reasonUnavailable = "unavailable"
	reasonMoved       = "moved"
	reasonUncertain   = "uncertain"
)

// reasons are all the labels of refused batches; the first that fits counts.
// What leaves an outcome open goes before what it wraps.
var reasons = []struct {
	name string
	fits func(error) bool
}{
	{reasonUncertain, is(api.ErrUncertain)},
	{reasonMoved, is(api.ErrMoved)},
	{"not_found", is(api.ErrNotFound)}, // or deleted
	{"unknown_producer", is(api.ErrUnknownProducer)},
	{"stored", is(api.ErrStored)},
	{"fenced", typed[*api.FencedError]},
	{"tail", typed[*api.TailError]},
	{"sequence", typed[*api.SequenceError]},
	{"limit", typed[*api.LimitError]},
	{"invalid", is(api.ErrInvalid)},
	{"closed", is(api.ErrClosed)},
	{reasonUnavailable, is(api.ErrUnavailable)},
	{"other", func(error) bool { return true }},
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func typed[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// reasonOf names the outcome of an append; "" if it is acknowledged.
func reasonOf(err error) string {
	if err == nil {
		return ""
	}
	for _, r := range reasons {
		if r.fits(err) {
			return r.name
		}
	}
	return ""
}
