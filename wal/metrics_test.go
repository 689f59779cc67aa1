package wal

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/wal/api"
)

// TestReasons: every error that an append may end with has a label of its own,
// and whatever else comes has one that they share.
func TestReasons(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{fmt.Errorf("%w: %w", api.ErrUncertain, api.ErrUnavailable), "uncertain"},
		{api.ErrMoved, "moved"},
		{api.ErrNotFound, "not_found"},
		{api.ErrDeleted, "not_found"},
		{api.ErrUnknownProducer, "unknown_producer"},
		{api.ErrStored, "stored"},
		{api.ErrInvalid, "invalid"},
		{api.ErrClosed, "closed"},
		{fmt.Errorf("%w: %w", api.ErrUnavailable, context.Canceled), "unavailable"},
		{&api.FencedError{}, "fenced"},
		{&api.TailError{}, "tail"},
		{&api.SequenceError{}, "sequence"},
		{&api.LimitError{}, "limit"},
		{errors.New("a name that nobody foresaw"), "other"},
	} {
		require.Equal(t, c.want, reasonOf(c.err), "%v", c.err)
	}
}

// TestRecentTimes: what is recorded shows for a second, to everybody who asks,
// and no longer.
func TestRecentTimes(t *testing.T) {
	var r recentTimes
	ask := func(at time.Duration) [3]time.Duration {
		p50, p99, highest := r.quantiles(at)
		return [3]time.Duration{p50, p99, highest}
	}
	require.Equal(t, [3]time.Duration{}, ask(0))
	at := time.Hour
	for i := range 99 {
		r.record(at, time.Duration(i+1)*time.Millisecond)
	}
	r.record(at, time.Second)
	for range 2 {
		got := ask(at + 500*time.Millisecond)
		require.InEpsilon(t, 50*time.Millisecond, got[0], 0.02)
		require.InEpsilon(t, 99*time.Millisecond, got[1], 0.02)
		require.InEpsilon(t, time.Second, got[2], 0.02)
	}
	require.Equal(t, [3]time.Duration{}, ask(at+time.Second))

	r.record(at+10*time.Second, time.Hour) // longer than it can tell
	require.InEpsilon(t, recentMax, ask(at + 10*time.Second)[2], 0.02)
	r.record(at, time.Millisecond) // so late that its place is another's
	require.InEpsilon(t, recentMax, ask(at + 10*time.Second)[0], 0.02)
	r.record(at+12*time.Second, 0)
	require.Equal(t, time.Microsecond, ask(at + 12*time.Second)[2])
}

// TestStalled: appends that wait while others are answered are slow; only if
// none is, the service stands still.
func TestStalled(t *testing.T) {
	m := newMetrics()
	m.start = time.Now().Add(-time.Hour)
	require.Zero(t, m.stalled(), "nobody waits")
	m.waiting.Store(2)
	m.progress.Store(int64(50 * time.Minute))
	require.Greater(t, m.stalled(), 9*time.Minute)
	m.answered(time.Now(), fmt.Errorf("%w: no room", api.ErrUnavailable))
	require.Greater(t, m.stalled(), 9*time.Minute, "nobody is any wiser")
	m.waiting.Store(2)
	m.answered(time.Now(), nil)
	require.Less(t, m.stalled(), time.Minute)
	m.answered(time.Now(), nil)
	require.Zero(t, m.stalled())
}
