package cluster

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// minFreeDefault is Config.MinFree: several times what the metadata of a
	// hundred thousand logs and the snapshots of them take.
	minFreeDefault = 256 << 20
	// spaceInterval is how often it is looked how much room is left.
	spaceInterval = time.Second
	// spaceSlack is the part of MinFree that there must be beyond it until a
	// node takes writes again, so that it does not go back and forth.
	spaceSlack = 8
)

// SpaceError: the disk of the data directory is nearly full. A full one would
// stop the node: so it takes no writes, and leads no more than it must, until
// there is room again.
type SpaceError struct {
	Dir       string
	Free, Min uint64 // bytes
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("the disk of the data directory %s is nearly full: %d bytes are free, fewer than %d: make room there", e.Dir, e.Free, e.Min)
}

// space is how much room there is on the disk of the data directory.
type space struct {
	short atomic.Pointer[SpaceError] // nil: enough
	blind bool                       // it could not be found out; belongs to whoever looks
}

// Space returns a *SpaceError while the disk of the data directory is nearly
// full, and nil otherwise, or if that can't be found out.
func (m *Member) Space() error {
	if e := m.space.short.Load(); e != nil {
		return e
	}
	return nil
}

// openSpace looks how much room there is, and goes on to do so.
func (m *Member) openSpace() {
	if m.config.FreeSpace == nil {
		return
	}
	m.lookAtSpace()
	m.spawn(m.watchSpace)
}

// watchSpace looks how much room there is until the member is closing. While
// there is little, it sees to it that another one leads.
func (m *Member) watchSpace() {
	tick := time.NewTicker(spaceInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-m.failed:
			return
		case <-m.closing:
			return
		}
		m.lookAtSpace()
		if m.Space() != nil && m.config.networked() && m.leads() {
			m.yield()
		}
	}
}

// lookAtSpace takes in how much room there is.
func (m *Member) lookAtSpace() {
	s := &m.space
	free, err := m.config.FreeSpace(m.config.Dir)
	if err != nil {
		if !s.blind {
			s.blind = true
			m.logger.Warn("it can't be found out how full the disk of the data directory is", "dir", m.config.Dir, "err", err)
		}
		return
	}
	s.blind = false
	m.metrics.free.Set(float64(free))
	least, was := uint64(m.config.MinFree), s.short.Load()
	switch {
	case free < least:
		now := &SpaceError{Dir: m.config.Dir, Free: free, Min: least}
		if s.short.Store(now); was == nil {
			m.metrics.short.Set(1)
			m.logger.Error("this node takes no writes until there is room", "err", now)
		}
	case was != nil && free >= least+least/spaceSlack:
		s.short.Store(nil)
		m.metrics.short.Set(0)
		m.logger.Warn("this node takes writes again: the disk of the data directory has room", "dir", m.config.Dir, "free", free)
	}
}

// yield lets another voter lead that is well and has room, if there is one.
func (m *Member) yield() {
	ctx, cancel := context.WithTimeout(m.life, 2*m.config.Heartbeat)
	defer cancel()
	standings, err := m.Standings(ctx)
	if err != nil {
		return // it leads no more
	}
	for _, s := range m.servers() {
		for _, x := range standings {
			if s.Suffrage != raft.Voter || x.Identity != string(s.ID) || x.Identity == m.me.Identity || !x.Alive || x.Report.Draining {
				continue
			}
			err := m.TransferLeader(ctx, x.Identity)
			if err == nil {
				m.metrics.abdications.Inc()
				m.logger.Error("this leader's disk is nearly full; it has handed leadership over", "to", x.Identity)
				return
			}
			m.logger.Warn("this leader's disk is nearly full, and it could not hand leadership over", "to", x.Identity, "err", err)
		}
	}
}
