package wal

import (
	"maps"
	"slices"
	"time"

	"github.com/wpd-io/wpd/fsm"
)

// The pauses of watchLogs.
const (
	watchLogsPause    = 20 * time.Millisecond
	watchLogsEveryMax = time.Minute
)

// watchLogs takes in what the metadata say of the logs that are attached here,
// and gives back the chains that are not used.
func (s *Service) watchLogs() {
	tick := time.NewTicker(min(watchLogsEveryMax, max(s.cfg.ChainIdle/8, watchLogsPause)))
	defer tick.Stop()
	s.onChange(tick.C, watchLogsPause, watchShare, func() {
		for _, l := range s.attachedLogs() {
			s.lookAtLog(l)
		}
		s.sweep()
	})
}

// attachedLogs are those that are attached to a chain of ours that takes
// batches.
func (s *Service) attachedLogs() []*log {
	s.mu.RLock()
	all := slices.Collect(maps.Values(s.logs))
	s.mu.RUnlock()
	return slices.DeleteFunc(all, func(l *log) bool {
		c := l.home()
		return c == nil || !c.alive()
	})
}

// lookAtLog takes in what the metadata say of a log that is attached here.
func (s *Service) lookAtLog(l *log) {
	var m *fsm.Log
	s.cfg.Meta.View(func(st *fsm.State) { m, _ = st.Log(l.id) })
	if s.heed(l, m); m == nil {
		return
	}
	switch c := l.home(); {
	case c == nil || !c.alive():
	case c.log != berthFor(m):
		s.rehouse(l)
	case c.log != 0 && c.idle.since(l.latest()) >= s.cfg.ChainIdle:
		s.rest(l, c)
	}
}

// unusedMax is for how long a chain may be there for a log that does not come:
// far longer than it takes to attach one.
const unusedMax = time.Minute

// sweep ends the chains that were opened for a log that did not come: it went
// elsewhere, or was deleted.
func (s *Service) sweep() {
	s.mu.RLock()
	var idle []*chain
	for _, c := range s.chains {
		if c.log != 0 && c.alive() && c.logs.Load() == 0 && c.idle.since(nobody) >= unusedMax {
			idle = append(idle, c)
		}
	}
	s.mu.RUnlock()
	for _, c := range idle {
		s.retire(c)
	}
}

// nobody is the number of no fragment.
const nobody = 1<<64 - 1

// heed takes in what the metadata say of a log; nil: it is gone.
func (s *Service) heed(l *log, m *fsm.Log) {
	if m == nil {
		s.forget(l)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.ConfigVersion >= l.version { // or it was overtaken on its way
		l.version, l.limits = m.ConfigVersion, limitsOf(m.Config)
	}
}

// idleness is for how long something stays as it is. For one goroutine.
type idleness struct {
	last uint64
	from time.Time
}

func (i *idleness) since(now uint64) time.Duration {
	if i.from.IsZero() || i.last != now {
		i.last, i.from = now, time.Now()
	}
	return time.Since(i.from)
}
