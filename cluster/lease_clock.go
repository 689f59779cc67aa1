package cluster

import "time"

// instant is a moment by both clocks of this machine.
type instant struct {
	mono time.Duration // never goes back, but may stand still while the machine sleeps
	wall time.Time     // without a monotonic part; may jump
}

// clock reads them.
type clock struct {
	start time.Time
	wall  func() time.Time // nil: the machine's
}

func newClock(wall func() time.Time) clock { return clock{start: time.Now(), wall: wall} }

func (c clock) now() instant {
	now := time.Now()
	i := instant{mono: now.Sub(c.start), wall: now.Round(0)}
	if c.wall != nil {
		i.wall = c.wall().Round(0)
	}
	return i
}

// since returns how long ago an earlier moment was, by the clock that went
// further.
func (i instant) since(then instant) time.Duration {
	return max(i.mono-then.mono, i.wall.Sub(then.wall))
}

// drift returns how far the wall clock jumped since an earlier moment, against
// the monotonic one.
func (i instant) drift(then instant) time.Duration {
	return i.wall.Sub(then.wall) - (i.mono - then.mono)
}
