package cluster

import (
	"sync/atomic"
	"time"
)

// stall tells for how long something that comes one at a time has been under
// way.
type stall struct{ since atomic.Pointer[time.Time] }

// begin notes that it begins; the function that it returns, that it is over.
func (s *stall) begin() func() {
	now := time.Now()
	s.since.Store(&now)
	return func() { s.since.Store(nil) }
}

// lasts returns 0 if nothing is under way.
func (s *stall) lasts() time.Duration {
	if t := s.since.Load(); t != nil {
		return time.Since(*t)
	}
	return 0
}
