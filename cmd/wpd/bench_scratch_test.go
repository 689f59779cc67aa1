package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// scratchLeft are the objects that a server has made to measure its bucket.
func scratchLeft(t *testing.T, w *world) []string {
	left, err := filepath.Glob(filepath.Join(strings.TrimPrefix(w.bucket, "file://"), "scratch", "*"))
	require.NoError(t, err)
	return left
}

// What a server makes to measure its bucket stays from one round to the next,
// and is gone after the bench, in whichever way that ends.
func TestBenchLeavesNoScratch(t *testing.T) {
	w := benchWorld(t, true)
	const round = 2*2 + smallMin // objects at least
	run := []string{"bench", "append", "--entries", "100000", "--rounds", "1000", "--window", "2", "--warmup", "0"}
	begin := func() *running {
		p := w.start(run...)
		require.Eventually(t, func() bool { return len(scratchLeft(t, w)) > 2*round }, 30*time.Second, time.Millisecond)
		return p
	}
	p := begin()
	p.signal(os.Interrupt)
	code, _ := p.end()
	require.Equal(t, exitInterrupted, code, p.said())
	require.Empty(t, scratchLeft(t, w), "after an interrupt")
	require.Empty(t, logsLeft(w))

	p = begin()
	p.signal(os.Kill)
	_, _ = p.end()
	require.Eventually(t, func() bool { return len(scratchLeft(t, w)) == 0 }, 30*time.Second, time.Millisecond, "after kill -9")

	p = begin()
	again := w.fails(exitUnavailable, "bench", "append", "--entries", "10", "--rounds", "1", "--window", "1", "--warmup", "0")
	require.Contains(t, again, "somebody measures the bucket")
	p.signal(os.Interrupt)
	_, _ = p.end()

	benchJSON(t, "append --entries 10 --rounds 3 --window 2 "+strings.Join(w.flags, " "))
	require.Empty(t, scratchLeft(t, w), "after a good end")
}
