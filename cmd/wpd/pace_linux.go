package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleepFor sleeps to within some 60 µs. Go's own timers may be a millisecond
// late, which would be counted as latency.
func sleepFor(d time.Duration) {
	if d > 0 {
		t := unix.NsecToTimespec(int64(d))
		_ = unix.Nanosleep(&t, nil) // an interrupted sleep is a short one
	}
}
