package cluster

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fsm"
)

// BenchmarkOpen measures the time to readiness: of a new directory, and of one
// with 10,000 commands in its raft log.
func BenchmarkOpen(b *testing.B) {
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			m, err := Open(b.Context(), Config{Dir: filepath.Join(b.TempDir(), "d"), Bucket: newBucket()})
			require.NoError(b, err)
			b.StopTimer()
			require.NoError(b, m.Close())
			b.StartTimer()
		}
	})
	b.Run("10000-commands", func(b *testing.B) {
		dir, bucket := b.TempDir(), newBucket()
		m, err := Open(b.Context(), Config{Dir: dir, Bucket: bucket})
		require.NoError(b, err)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				for j := range 100 {
					if _, err := m.Propose(b.Context(), fsm.NewCreateLog(fmt.Sprintf("%d/%d", i, j), fsm.LogConfig{EntryBytesMax: 1}, 0)); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		require.NoError(b, m.Close())
		for b.Loop() {
			m, err := Open(b.Context(), Config{Dir: dir, Bucket: bucket})
			require.NoError(b, err)
			b.StopTimer()
			require.NoError(b, m.Close())
			b.StartTimer()
		}
	})
}

// BenchmarkPropose measures one command at a time, and a confirmation.
func BenchmarkPropose(b *testing.B) {
	m, err := Open(b.Context(), Config{Dir: b.TempDir(), Bucket: newBucket()})
	require.NoError(b, err)
	defer func() { require.NoError(b, m.Close()) }()
	b.Run("Propose", func(b *testing.B) {
		for b.Loop() {
			_, err := m.Grant(b.Context(), 8, 0)
			require.NoError(b, err)
		}
	})
	b.Run("Confirm", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, m.Confirm(b.Context()))
		}
	})
}
