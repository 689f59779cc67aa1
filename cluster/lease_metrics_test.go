package cluster

import (
	"context"
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// The metrics of leases keep the conventions, and each outcome has its name.
func TestLeaseMetrics(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	m := newLeaseMetrics()
	for _, c := range m.collectors() {
		require.NoError(t, r.Register(c))
	}
	for want, err := range map[string]error{
		"answered":   nil,
		"uncertain":  &UncertainError{Err: ErrNotLeader},
		"refused":    fmt.Errorf("renew: %w", &RefusedError{Reason: "removed"}),
		"not_leader": &NotLeaderError{Leader: "n1"},
		"not_done":   ErrBusy,
		"timeout":    context.DeadlineExceeded,
		"failed":     errStore,
	} {
		require.Equal(t, want, peerOutcome(err))
		m.forwarded("propose", err)
		m.renewals.WithLabelValues(want).Inc()
		m.served.WithLabelValues(want).Inc()
		require.EqualValues(t, 1, testutil.ToFloat64(m.forwardings.WithLabelValues("propose", want)))
	}
	problems, err := testutil.GatherAndLint(r)
	require.NoError(t, err)
	require.Empty(t, problems)
}
