package wpd_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
)

// TestReadyBytes: who appends says how much is ready to be appended, of all
// writers of the client together, so that a fragment is kept open for it.
func TestReadyBytes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		said := func() []int {
			w.mu.Lock()
			defer w.mu.Unlock()
			s := w.ready
			w.ready = nil
			return s
		}
		writers := []*wpd.Writer{w.writer(), w.writer()}
		for range 3 {
			_, err := writers[0].Append(t.Context(), make([]byte, 1000))
			require.NoError(t, err)
		}
		for _, n := range said() {
			require.InDelta(t, 1000, n, 300, "the batch itself")
		}

		const entries, bytes = 400, 10_000
		for i := range entries {
			writers[i%2].AppendAsync(t.Context(), wpd.Entry{Data: make([]byte, bytes)})
		}
		for _, x := range writers {
			require.NoError(t, x.Flush(t.Context()))
		}
		got := said()
		require.Greater(t, slices.Max(got), entries*bytes/4, "of both writers: %v", got)
		require.Less(t, slices.Max(got), entries*bytes*2, "about: what is under way to the stream may count twice")

		_, err := writers[1].Append(t.Context(), make([]byte, 1000))
		require.NoError(t, err)
		require.InDelta(t, 1000, said()[0], 300, "nothing is left over")
		for _, x := range writers {
			require.NoError(t, x.Close())
		}
	})
}
