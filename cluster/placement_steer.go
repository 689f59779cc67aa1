package cluster

import (
	"context"

	"github.com/wpd-io/wpd/fragment"
)

// Steer makes Place choose a node for a log, for some seconds, as long as that
// node takes logs: for a log that is about to be handed over, so that whoever
// uses it in between does not bring it back. It needs this member to lead, else
// its error is an ErrNotLeader.
func (m *Member) Steer(ctx context.Context, log fragment.LogID, identity string) error {
	return m.asLeader(ctx, func(t *table) error {
		t.places.choose(log, identity, t.clock.now().mono)
		return nil
	})
}
