package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
)

// Each entry is in one count, the first error stays, and what is stored behind
// it is noticed.
func TestTallySettles(t *testing.T) {
	first, second := errors.New("first"), errors.New("second")
	y := newTally()
	y.launchBatch(20)
	y.settle(5, 50, 11, nil)
	require.False(t, y.holes)
	y.settle(1, 10, 0, nil) // the log has forgotten where
	y.settle(4, 40, 0, wpd.ErrUncertain)
	y.settle(2, 20, 0, first)
	y.settle(2, 20, 0, second)
	require.False(t, y.snapshot().holes)
	y.settle(3, 30, 30, nil)
	c := y.snapshot()
	require.True(t, c.holes)
	require.ErrorIs(t, c.err, wpd.ErrUncertain)
	c.err, c.holes = nil, false
	c.changed = y.changed
	require.Equal(t, counts{inFlight: 3, stored: 9, unknown: 4, refused: 4, bytes: 90, first: 11, end: 33, changed: y.changed}, c)
}

// What an append ends with, by what became of the entries and why it ended.
func TestOutcome(t *testing.T) {
	live, dead := t.Context(), func(cause error) context.Context {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		return ctx
	}
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	input, fenced := errors.New("line 7"), &wpd.FencedError{}
	for name, c := range map[string]struct {
		ctx, waiting context.Context
		err, first   error  // of the input, of the entries
		unknown      uint64 // entries
		code         int
	}{
		"done":                               {live, live, nil, nil, 0, exitDone},
		"done when the time was up":          {late, dead(errTimeout), nil, nil, 0, exitDone},
		"input":                              {live, live, input, nil, 0, exitUnexpected},
		"fenced":                             {live, live, fenced, fenced, 0, exitConflict},
		"fenced, while the input was wrong":  {live, live, input, fenced, 0, exitConflict},
		"fenced, and some may be stored":     {live, live, fenced, wpd.ErrUncertain, 3, exitUnknown},
		"interrupted":                        {dead(nil), live, context.Canceled, nil, 0, exitInterrupted},
		"interrupted, not waited for":        {dead(nil), dead(nil), context.Canceled, wpd.ErrUncertain, 3, exitInterrupted},
		"time is up, all is known":           {late, live, context.DeadlineExceeded, nil, 0, exitUnavailable},
		"time is up, outcomes are open":      {late, dead(errTimeout), context.DeadlineExceeded, wpd.ErrUncertain, 3, exitUnknown},
		"time is up at the end of the input": {late, dead(errTimeout), nil, wpd.ErrUncertain, 3, exitUnknown},
		"stalled":                            {live, dead(errStalled), errStalled, wpd.ErrUncertain, 3, exitUnknown},
		"stalled, all is known at last":      {live, dead(errStalled), errStalled, nil, 0, exitUnavailable},
	} {
		a := &appending{tally: newTally()}
		a.tally.err, a.tally.unknown = c.first, c.unknown
		err := a.outcome(c.ctx, c.waiting, c.err)
		code := exitDone
		if err != nil {
			code, _ = classify(err)
		}
		if errors.Is(err, context.Canceled) {
			code = exitInterrupted // as report says
		}
		require.Equal(t, c.code, code, "%s: %v", name, err)
	}
}
