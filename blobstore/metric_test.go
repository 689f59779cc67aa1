package blobstore_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// metric adds up the series of a counter or a gauge: those with that value of
// their one label, or all.
func metric(t *testing.T, reg *prometheus.Registry, name string, label ...string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	found := false
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (len(label) == 0 || m.GetLabel()[0].GetValue() == label[0]) {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
				found = true
			}
		}
	}
	require.True(t, found, "no metric %s %v", name, label)
	return sum
}
