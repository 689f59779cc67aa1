//go:build linux

package process_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/node/process"
)

func TestProcess(t *testing.T) {
	before := process.CPU()
	for process.CPU() == before { // time passes while we look
		runtime.Gosched()
	}
	now, peak := process.RSS()
	require.Positive(t, now)
	require.GreaterOrEqual(t, peak, now)

	b := make([]byte, 64<<20)
	for i := range b {
		b[i] = 1
	}
	_, grown := process.RSS()
	require.GreaterOrEqual(t, grown, int64(len(b)))
	runtime.KeepAlive(b)
}
