package siege_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc/client"
	"github.com/wpd-io/wpd/rpc/server"
	"github.com/wpd-io/wpd/rpc/siege"
	"github.com/wpd-io/wpd/wal/api"
)

// logs are a service with one log, of which only the tail can be had.
type logs struct{ api.Service }

func (logs) Limits(fragment.LogID) (fragment.Limits, error) { return fragment.Limits{}, nil }

func (logs) Tail(context.Context, fragment.LogID, api.Level) (fragment.LSN, error) { return 7, nil }

// serve serves logs on the loopback.
func serve(t *testing.T) (addr string) {
	s, err := server.New(server.Config{Logs: logs{}, ClusterID: "c"})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = s.Close(ctx) // cuts whatever was left
		require.NoError(t, <-served)
	})
	return l.Addr().String()
}

// Each attack does what it says, ends when it should, leaves nothing behind,
// and the server is there all the time.
func TestAttacks(t *testing.T) {
	took := map[string]func(r siege.Report) bool{
		"half-open streams":  func(r siege.Report) bool { return r.Streams >= 20_000 && r.Ended > 1000 && r.Ended <= r.Streams },
		"silent sockets":     func(r siege.Report) bool { return r.Connections >= 400 && r.Streams == 0 },
		"header flood":       func(r siege.Report) bool { return r.Refused >= 4 && r.Bytes > 1<<20 },
		"rapid resets":       func(r siege.Report) bool { return r.Streams > 10_000 },
		"giant entries":      func(r siege.Report) bool { return r.Streams >= 50 && r.Bytes > 50<<20 },
		"giant frames":       func(r siege.Report) bool { return r.Refused >= 8 },
		"malformed messages": func(r siege.Report) bool { return r.Ended > 50 && r.Ended <= r.Streams },
	}
	for _, a := range siege.Attacks() {
		t.Run(a.Name, func(t *testing.T) {
			addr := serve(t)
			c, err := client.Dial(t.Context(), client.Config{Addrs: []string{addr}})
			require.NoError(t, err)
			defer func() { require.NoError(t, c.Close()) }()
			// As long as it takes until the attack has its effect.
			var r siege.Report
			for d := time.Second; !took[a.Name](r); d *= 2 {
				require.Less(t, d, siege.TimeMax, "%+v", r)
				begun := false
				r, err = siege.Run(t.Context(), siege.Config{Addr: addr, Attack: a.Name, Time: d, Log: 1}, func() { begun = true })
				require.NoError(t, err)
				require.True(t, begun)
			}
			tail, err := c.Tail(t.Context(), 1, api.Level{})
			require.NoError(t, err)
			require.EqualValues(t, 7, tail)
			t.Logf("%+v", r)
		})
	}
	require.Len(t, siege.Attacks(), len(took))
}

func TestRunRefuses(t *testing.T) {
	addr := serve(t)
	for _, c := range []struct {
		config siege.Config
		why    string
	}{
		{siege.Config{Addr: addr, Attack: "kindness", Time: time.Second}, "no attack"},
		{siege.Config{Addr: addr, Attack: "silent sockets"}, "more than nothing"},
		{siege.Config{Addr: addr, Attack: "silent sockets", Time: 2 * siege.TimeMax}, "at most"},
		{siege.Config{Addr: "192.0.2.1:7070", Attack: "silent sockets", Time: time.Second}, "loopback"},
		{siege.Config{Addr: "0.0.0.0:7070", Attack: "silent sockets", Time: time.Second}, "loopback"},
		{siege.Config{Addr: "nonsense", Attack: "silent sockets", Time: time.Second}, "missing port"},
	} {
		_, err := siege.Run(t.Context(), c.config, func() { t.Error("it has begun") })
		require.ErrorContains(t, err, c.why)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, err := siege.Run(ctx, siege.Config{Addr: addr, Attack: "silent sockets", Time: siege.TimeMax}, cancel)
	require.NoError(t, err, "an end is no error")
	require.LessOrEqual(t, r.Connections, int64(400))
}
