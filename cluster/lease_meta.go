package cluster

import (
	"fmt"

	"github.com/wpd-io/wpd/fragment"
)

// What room wal asks in its own words, so that it need not know this room.

// LeaseHeld is Lease(e).Held().
func (m *Member) LeaseHeld(e fragment.Epoch) bool { return m.Lease(e).Held() }

// LeaseChanged is Lease(e).Changed().
func (m *Member) LeaseChanged(e fragment.Epoch) <-chan struct{} { return m.Lease(e).Changed() }

// MayAttach says why this node must not take logs that it does not write yet:
// its disk is nearly full, or its clock must not stamp their entries; nil if it
// may.
func (m *Member) MayAttach() error {
	if err := m.Space(); err != nil {
		return err
	}
	skew, ok := m.ClockSkew()
	switch {
	case ok:
		return nil
	case skew < 0:
		return fmt.Errorf("its clock is %v behind the leader's, at most %v is allowed", -skew, ClockSkewMax)
	}
	return fmt.Errorf("its clock is %v ahead of the leader's, at most %v is allowed", skew, ClockSkewMax)
}

// Fatal tells those who don't know this package that the node must stop.
func (e *RolledBackError) Fatal() bool { return true }
