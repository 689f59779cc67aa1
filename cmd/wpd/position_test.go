package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
)

func TestParsePlace(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]place{
		"earliest":                  {kind: placeEarliest},
		"tail":                      {kind: placeTail},
		"1":                         {kind: placeLSN, n: 1},
		"18446744073709551615":      {kind: placeLSN, n: 1<<64 - 1},
		"-1":                        {kind: placeLast, n: 1},
		"-100":                      {kind: placeLast, n: 100},
		"-5m":                       {kind: placeTime, time: now.Add(-5 * time.Minute)},
		"-1.5h":                     {kind: placeTime, time: now.Add(-90 * time.Minute)},
		"-0s":                       {kind: placeTime, time: now},
		"2026-01-31T15:04:05Z":      {kind: placeTime, time: time.Date(2026, 1, 31, 15, 4, 5, 0, time.UTC)},
		"2026-01-31T15:04:05.25Z":   {kind: placeTime, time: time.Date(2026, 1, 31, 15, 4, 5, 250e6, time.UTC)},
		"2026-01-31T15:04:05+01:00": {kind: placeTime, time: time.Date(2026, 1, 31, 14, 4, 5, 0, time.UTC)},
	} {
		got, err := parsePlace(in, now)
		require.NoError(t, err, in)
		require.Equal(t, want.kind, got.kind, in)
		require.Equal(t, want.n, got.n, in)
		require.True(t, want.time.Equal(got.time), "%s: %v", in, got.time)
	}
	for _, in := range []string{
		"", "0", "-0", "-", "--5", "+5", "5m", "1e3", "0x10", "1_000", " 1", "-1 ", "latest", "Tail", "18446744073709551616",
		"2026-01-31", "2026-01-31 15:04:05", "2026-01-31T15:04:05.5-0700", "--5m", "-9999999999h", "２",
	} {
		_, err := parsePlace(in, now)
		require.ErrorContains(t, err, "want earliest, tail, an LSN", "%q", in)
	}
}

func TestPositionOfPlace(t *testing.T) {
	at := time.Unix(1, 0)
	for _, c := range []struct {
		place place
		want  wpd.Position
	}{
		{place{}, wpd.Earliest},
		{place{kind: placeTail}, wpd.Tail},
		{place{kind: placeLSN, n: 7}, wpd.From(7)},
		{place{kind: placeLast, n: 7}, wpd.Last(7)},
		{place{kind: placeTime, time: at}, wpd.At(at)},
	} {
		require.Equal(t, c.want, c.place.position())
	}
}
