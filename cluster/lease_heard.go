package cluster

import "time"

// ClockSkewMax is how far a node's wall clock may be from the leader's. Further
// away it must take no logs and drop nothing by age: both would stamp, or judge,
// entries by a time that nobody else has.
const ClockSkewMax = time.Second

// ClockSkew returns how far this node's wall clock is ahead of that of a
// confirmed leader, less than 0 if behind, and whether that is near enough. It
// counts what is sure, as the leader's answer may have been on its way for any
// part of the time that passed. A jump of this node's clock counts at once.
func (m *Member) ClockSkew() (skew time.Duration, ok bool) {
	k := m.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.skewLocked()
}

func (k *keeper) skewLocked() (time.Duration, bool) {
	if k.heard == 0 {
		return 0, true
	}
	skew := k.skew + k.clock.now().drift(k.came)
	return skew, skew.Abs() <= ClockSkewMax
}

// skewOf returns how far a wall clock is ahead of one that showed remote
// somewhere between two moments.
func skewOf(sent, came instant, remote time.Time) time.Duration {
	most := came.wall.Sub(remote) // the answer took no time
	least := most - (came.mono - sent.mono)
	switch {
	case least > 0:
		return least
	case most < 0:
		return most
	}
	return 0
}

// Ages returns how long ago the leader answered a node's last renewal, at most:
// by what this node heard last, and by its own clocks since it asked. ok is
// false if the leader did not tell, which for a node that is gone is soon the
// case.
func (m *Member) Ages(identity string) (age time.Duration, ok bool) {
	k := m.keeper
	if k.alone != nil {
		return 0, identity == m.me.Identity && k.alone()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	age, ok = k.nodes[identity]
	if !ok {
		return 0, false
	}
	return age + k.clock.now().since(k.sent), true
}
