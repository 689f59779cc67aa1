package bubble

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTimers does what kills a raced bubble on two processors, within its first
// rounds: many goroutines poll expired timers at the same instant.
func TestTimers(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	for range 20 {
		Test(t, func(t *testing.T) {
			began := time.Now()
			var all sync.WaitGroup
			for range 8 {
				all.Go(poll)
			}
			all.Wait()
			require.Equal(t, 1000*10*time.Nanosecond, time.Since(began))
		})
	}
	require.Equal(t, before, runtime.GOMAXPROCS(0))
}

func poll() {
	k := time.NewTicker(5 * time.Nanosecond)
	defer k.Stop()
	for range 1000 {
		time.Sleep(10 * time.Nanosecond)
		for range 5 {
			select {
			case <-k.C:
			default:
			}
			k.Reset(5 * time.Nanosecond)
		}
		<-time.NewTimer(0).C
	}
}
