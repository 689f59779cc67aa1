package testcluster

import (
	"bytes"
	"io"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// frame makes a frame of HTTP/2.
func frame(kind, flags byte, stream byte, bytes int) []byte {
	return slices.Concat([]byte{0, byte(bytes >> 8), byte(bytes), kind, flags, 0, 0, 0, stream}, make([]byte, bytes))
}

// TestNetworkCuts: exactly the planned bytes arrive, in either direction, and
// what is cut in two is told apart: a frame of a stream that goes on carries
// batches, or answers to them.
func TestNetworkCuts(t *testing.T) {
	const headers, data, end = 1, frameData, flagEndStream
	up := slices.Concat([]byte(prefaceHTTP2), frame(headers, 0, 1, 10), frame(data, 0, 1, 300), frame(data, end, 3, 300))
	down := slices.Concat(frame(headers, 0, 1, 10), frame(data, 0, 1, 300), frame(data, 0, 3, 300))
	batches := len(prefaceHTTP2) + 2*frameHeadBytes + 10 // where the first frame of stream 1 begins
	answers := 2*frameHeadBytes + 10
	for name, c := range map[string]struct {
		cut  Cut
		want Cuts
	}{
		"in the preface":         {Cut{After: 5}, Cuts{Others: 1}},
		"before the batches":     {Cut{After: batches - 1}, Cuts{Others: 1}},
		"in the batches":         {Cut{After: batches + 1}, Cuts{Appends: 1}},
		"at the last byte":       {Cut{After: batches + 299}, Cuts{Appends: 1}},
		"behind the batches":     {Cut{After: batches + 300}, Cuts{Others: 1}},
		"in a call":              {Cut{After: batches + 300 + frameHeadBytes + 1}, Cuts{Others: 1}},
		"in the first frame":     {Cut{Answers: true, After: 3}, Cuts{Others: 1}},
		"in the answers":         {Cut{Answers: true, After: answers + 1}, Cuts{Acks: 1}},
		"in the answer to calls": {Cut{Answers: true, After: answers + 300 + frameHeadBytes + 1}, Cuts{Others: 1}},
		"never":                  {Cut{}, Cuts{}},
	} {
		t.Run(name, func(t *testing.T) {
			n := &Network{}
			l := n.Listen()
			n.Plan(func() Cut { return c.cut })
			got := make(chan []byte, 1)
			go func() {
				peer, err := l.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = peer.Write(down)
				all, _ := io.ReadAll(peer)
				got <- all
				_ = peer.Close()
			}()
			conn, err := n.DialContext(t.Context(), "")
			require.NoError(t, err)
			_, err = conn.Write(up)
			if c.cut.After > 0 && !c.cut.Answers {
				require.ErrorIs(t, err, errBroken)
				_, err = conn.Write(up)
				require.ErrorIs(t, err, errBroken)
				require.True(t, bytes.Equal(up[:c.cut.After], <-got))
			} else {
				require.NoError(t, err)
				b := make([]byte, len(down))
				read, err := io.ReadFull(conn, b)
				if c.cut.Answers {
					require.Equal(t, c.cut.After, read)
					require.ErrorIs(t, err, errBroken)
				} else {
					require.NoError(t, err)
					require.True(t, bytes.Equal(down, b))
				}
				n.Break()
				require.True(t, bytes.Equal(up, <-got))
			}
			require.Equal(t, c.want, n.Cuts())
			n.Unplug()
			_, err = n.DialContext(t.Context(), "")
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
		})
	}
}
