package cluster

import (
	"sync"
	"time"
)

// logEvery is how often at most something is logged that others cause.
const logEvery = time.Second

// logLimit lets a message pass once in logEvery, and counts the others.
type logLimit struct {
	mu      sync.Mutex
	last    time.Time // guarded by mu, as is dropped
	dropped int
}

// pass tells whether to log now, and how many messages were left out before.
func (l *logLimit) pass() (dropped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.last.IsZero() || now.Sub(l.last) >= logEvery {
		l.last = now
		dropped, l.dropped = l.dropped, 0
		return dropped, true
	}
	l.dropped++
	return 0, false
}
