package main

import (
	"bytes"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTimelineBuckets(t *testing.T) {
	last := -1
	for ns := int64(1); ns < int64(10*time.Minute); ns += 1 + ns/20 {
		b := timelineBucket(ns)
		require.GreaterOrEqual(t, b, last)
		last = b
		if ns >= int64(time.Microsecond) {
			require.InEpsilon(t, float64(ns), timelineMid(b), 0.13, "%d ns", ns)
		}
	}
	require.Less(t, last, timelineBuckets-1, "ten minutes are within")
	require.Equal(t, timelineBuckets-1, timelineBucket(math.MaxInt64))
	require.Zero(t, timelineBucket(-1))
}

// A part of 1 ms each, then a stall, then 1 ms again: each stands where it
// belongs, however far the slots were merged; the time between parts does not
// count, nor what came while nothing was measured.
func TestTimeline(t *testing.T) {
	for _, part := range []time.Duration{20 * time.Millisecond, time.Second, time.Hour} {
		line := newTimeline()
		now := int64(5 * time.Minute)
		line.add(latency{now, int64(time.Hour)}) // the warm-up
		for _, took := range []time.Duration{time.Millisecond, 100 * time.Millisecond, time.Millisecond} {
			line.resume(now)
			for i := range int64(1000) {
				line.add(latency{now + i*int64(part)/1000, int64(took)})
			}
			now += int64(part)
			line.pause(now)
			line.add(latency{now, int64(time.Hour)})
			now += int64(time.Minute)
		}
		require.LessOrEqual(t, len(line.slots), timelineSlotsMax)
		series, took := line.columns(30, 50, 99)
		require.Equal(t, 3*part, took)
		for _, of := range series {
			require.Len(t, of, 30)
			for i, ns := range of {
				want := time.Millisecond
				if i >= 11 && i < 19 {
					want = 100 * time.Millisecond
				}
				if i%10 == 0 || i%10 == 9 {
					continue // a slot may lie across two parts
				}
				require.InEpsilon(t, float64(want), ns, 0.13, "column %d of %v", i, part)
			}
		}
	}
	var none *timeline
	none.add(latency{})
}

func TestTimelinePercentiles(t *testing.T) {
	var s timelineSlot
	require.True(t, math.IsNaN(s.percentile(50)))
	for i := range 100 {
		s[timelineBucket(int64(i+1)*int64(time.Millisecond))]++
	}
	require.InEpsilon(t, 50e6, s.percentile(50), 0.13)
	require.InEpsilon(t, 99e6, s.percentile(99), 0.13)
	require.InEpsilon(t, 100e6, s.percentile(100), 0.13)
	require.InEpsilon(t, 1e6, s.percentile(0), 0.13)
}

func TestChart(t *testing.T) {
	stalled := func(slots int) *timeline {
		line := newTimeline()
		line.resume(0)
		for i := range int64(slots) {
			for j := range int64(100) {
				took := time.Millisecond
				if i == int64(slots)/2 && j > 90 {
					took = 200 * time.Millisecond
				}
				line.add(latency{i * int64(time.Millisecond), int64(took)})
			}
		}
		line.pause(int64(slots) * int64(time.Millisecond))
		return line
	}
	gap := newTimeline()
	gap.resume(0)
	gap.add(latency{0, 1e6}, latency{int64(100 * time.Millisecond), 1e6})
	gap.pause(int64(100 * time.Millisecond))
	for _, c := range []struct {
		name    string
		line    *timeline
		columns int
		want    []string // in the chart; none: there is no chart
		not     string
	}{
		{"no terminal", stalled(200), 0, nil, ""},
		{"nothing measured", newTimeline(), 60, nil, ""},
		{"too short", stalled(chartColumnsMin - 1), 60, nil, ""},
		{"a stall", stalled(200), 60, []string{"p50", "p99", "1.0", "ms ┤", "200 ms", "·"}, "NaN"},
		{"nothing in between", gap, 60, []string{"100 ms"}, "NaN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, printChart(&out, ink{}, c.line, c.columns))
			if c.want == nil {
				require.Empty(t, out.String())
				return
			}
			for _, want := range c.want {
				require.Contains(t, out.String(), want)
			}
			require.NotContains(t, out.String(), "\x1b", "no colours")
			if c.not != "" {
				require.NotContains(t, out.String(), c.not)
			}
			for line := range strings.Lines(out.String()) {
				require.LessOrEqual(t, len([]rune(strings.TrimRight(line, "\n"))), c.columns+chartMargin+8, line)
			}
			out.Reset()
			require.NoError(t, printChart(&out, ink{true}, c.line, c.columns))
			require.Contains(t, out.String(), "\x1b")
		})
	}
}

func TestChartColumns(t *testing.T) {
	require.Zero(t, chartColumns(&bytes.Buffer{}))
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close() //nolint:errcheck // a pipe
	defer w.Close() //nolint:errcheck // a pipe
	require.Zero(t, chartColumns(w))
	require.Zero(t, chartFit(20))
	require.Equal(t, 68, chartFit(80))
	require.Equal(t, chartColumnsMax, chartFit(500))
}
