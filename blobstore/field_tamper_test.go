package blobstore_test

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/testcluster/tamper"
)

// field is a server, the proxy before it, and what was told of it.
type field struct {
	server
	proxy *tamper.Proxy
	truth *blobstore.Bucket // not by way of the proxy

	timeout time.Duration        // of a first attempt
	metrics *prometheus.Registry // of all writers

	mu   sync.Mutex
	told map[string]int // how many outcomes said what
}

func newField(t *testing.T, s server) *field {
	f := &field{
		server: s, proxy: s.proxy(t), truth: s.open(t, s.addr, blobstore.Options{}),
		metrics: prometheus.NewRegistry(), told: map[string]int{},
	}
	f.timeout = min(max(2*f.slowest(t), timeoutMin), timeoutMax)
	return f
}

// slowest is the longest that creates take if nothing is wrong with them but how
// many they are: what is less than that is no fault.
func (f *field) slowest(t *testing.T) (slowest time.Duration) {
	b := f.open(t, f.proxy.Addr(), blobstore.Options{})
	var group errgroup.Group
	for range schedulesAtOnce {
		group.Go(func() error {
			for range 4 {
				start := time.Now()
				if err := b.Create(t.Context(), "fast/"+rand.Text(), []byte("fast")); err != nil {
					return err
				}
				f.mu.Lock()
				slowest = max(slowest, time.Since(start))
				f.mu.Unlock()
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	return slowest
}

// note counts what the writers of a schedule were told.
func (f *field) note(outcomes []outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range outcomes {
		f.told[o.says()]++
	}
}

// report demands that n schedules have shown something: every outcome, and
// every kind of tampering to have taken effect.
func (f *field) report(t *testing.T, n int) {
	counts := f.proxy.Counts()
	var names []string
	for name, c := range counts {
		names = append(names, fmt.Sprintf("%s %+v", name, c))
	}
	slices.Sort(names)
	hedges := metric(t, f.metrics, "wpd_blobstore_hedges_total")
	t.Logf("timeout %v, %d schedules, %d answers of the server, %v hedges, told %v\n%s", f.timeout, n, f.proxy.Reached(), hedges, f.told, strings.Join(names, "\n"))
	require.GreaterOrEqual(t, hedges, float64(n/100))
	require.GreaterOrEqual(t, f.proxy.Reached(), 2*n)
	for says, least := range map[string]int{"ours": n / 4, "another's": n / 10, "unknown": n / 100} {
		require.GreaterOrEqual(t, f.told[says], least, says)
	}
	least := n / 200 // a tenth of what is to be expected
	for _, fault := range slices.Concat(createFaults, readFaults) {
		c := counts[fault.Name]
		switch fault.Do {
		case tamper.Pass:
			continue
		case tamper.Drop, tamper.Lie:
			require.GreaterOrEqual(t, c.Applied, least, fault.Name)
		case tamper.Hang, tamper.Slow:
			require.GreaterOrEqual(t, c.GivenUp, least, fault.Name)
		case tamper.Late:
			require.GreaterOrEqual(t, c.Applied, least, fault.Name)
			require.GreaterOrEqual(t, c.Overtaken, least, fault.Name)
		}
		require.GreaterOrEqual(t, c.Hits, least, fault.Name)
	}
}
