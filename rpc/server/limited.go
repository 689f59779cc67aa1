package server

import (
	"sync"
	"time"
)

// limited says at most once a second that something may be logged, so that a
// client can't fill a disk.
type limited struct {
	mu      sync.Mutex
	last    time.Time
	skipped int
}

// now says whether to log now, and how many times it said no since it last
// said yes.
func (l *limited) now() (skipped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.last) < time.Second {
		l.skipped++
		return 0, false
	}
	skipped, l.last, l.skipped = l.skipped, now, 0
	return skipped, true
}
