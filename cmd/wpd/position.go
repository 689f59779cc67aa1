package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/wpd-io/wpd"
)

// place says where a read starts.
type place struct {
	kind placeKind
	n    uint64 // the LSN, or the number of entries
	time time.Time
}

type placeKind int

const (
	placeEarliest placeKind = iota
	placeTail
	placeLSN  // n, at least 1
	placeLast // n entries before the tail, n at least 1
	placeTime
)

const placeWanted = "want earliest, tail, an LSN (the first is 1), -N for the last N entries, a time such as 2026-01-31T15:04:05Z, or -5m for five minutes ago"

// parsePlace reads the value of --from.
func parsePlace(s string, now time.Time) (place, error) {
	wrong := fmt.Errorf("--from is %q; %s", s, placeWanted)
	switch s {
	case "earliest":
		return place{kind: placeEarliest}, nil
	case "tail":
		return place{kind: placeTail}, nil
	}
	digits, last := strings.CutPrefix(s, "-")
	if strings.Trim(digits, "0123456789") == "" {
		n, err := strconv.ParseUint(digits, 10, 64)
		switch {
		case err != nil || n == 0:
			return place{}, wrong
		case last:
			return place{kind: placeLast, n: n}, nil
		}
		return place{kind: placeLSN, n: n}, nil
	}
	t, err := parseTime(s, now)
	if err != nil {
		return place{}, wrong
	}
	return place{kind: placeTime, time: t}, nil
}

// parseTime reads a time: RFC 3339, or -D for a duration ago.
func parseTime(s string, now time.Time) (time.Time, error) {
	if ago, ok := strings.CutPrefix(s, "-"); ok {
		d, err := time.ParseDuration(ago)
		if err != nil || d < 0 {
			return time.Time{}, fmt.Errorf("%q is no duration", ago)
		}
		return now.Add(-d), nil
	}
	return time.Parse(time.RFC3339Nano, s)
}

// position is the place in terms of package wpd.
func (p place) position() wpd.Position {
	switch p.kind {
	case placeTail:
		return wpd.Tail
	case placeLSN:
		return wpd.From(wpd.LSN(p.n))
	case placeLast:
		return wpd.Last(p.n)
	case placeTime:
		return wpd.At(p.time)
	}
	return wpd.Earliest
}
