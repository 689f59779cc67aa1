package server

import (
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/wal/api"
)

type noLogs struct{ api.Service }

func (noLogs) Limits(fragment.LogID) (fragment.Limits, error) {
	return fragment.Limits{}, api.ErrNotFound
}

// crowded returns a server with as many trials as there may be, all of them
// silent, and the ends of the oldest.
func crowded(t *testing.T) (s *Server, oldest *conn, client net.Conn) {
	t.Helper()
	s, err := New(Config{Logs: noLogs{}, ClusterID: "c", Limits: Limits{Connections: 1}})
	require.NoError(t, err)
	s.conns.clients = 1
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close() //nolint:errcheck // a test's
	client, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	served, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = served.Close() })
	require.NotNil(t, s.conns.add(served, s))
	for range trialsMax - 1 {
		idle, other := net.Pipe()
		t.Cleanup(func() { _, _ = idle.Close(), other.Close() })
		require.NotNil(t, s.conns.add(idle, s))
	}
	require.Len(t, s.conns.trials, trialsMax)
	return s, s.conns.trials[0], client
}

// admitted lets one more connection try, and returns the one that had to go.
func admitted(t *testing.T, s *Server) (gone *conn) {
	t.Helper()
	type answer struct {
		silent *conn
		err    error
	}
	done := make(chan answer, 1)
	go func() {
		silent, err := s.conns.admit(&conn{s: s})
		done <- answer{silent, err}
	}()
	select {
	case a := <-done:
		require.NoError(t, a.err)
		return a.silent
	case <-time.After(20 * time.Second):
		require.Fail(t, "it waits, and holds up everybody")
		return nil
	}
}

// TestAdmitWaitsForNobody: whoever comes when there are as many trials as may be
// takes the place of the oldest at once, though that one is being read.
func TestAdmitWaitsForNobody(t *testing.T) {
	for range 10 { // who reads may come too late to be in the way
		s, oldest, client := crowded(t)
		begun, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			close(begun)
			_, _ = oldest.Conn.Read(make([]byte, 1)) // as hear does
		}()
		<-begun
		gone := admitted(t, s)
		require.Same(t, oldest, gone)
		require.NoError(t, client.Close())
		<-ended
	}
}

// TestAdmitSparesWhoSpeaks: who has begun to speak keeps its place, whether that
// was heard already or not.
func TestAdmitSparesWhoSpeaks(t *testing.T) {
	for _, heard := range []bool{true, false} {
		if !heard && runtime.GOOS != "linux" {
			continue // nobody can tell there
		}
		s, oldest, client := crowded(t)
		next := s.conns.trials[1]
		ended := make(chan struct{})
		_, err := client.Write([]byte{'w'})
		require.NoError(t, err)
		if heard {
			go func() {
				defer close(ended)
				_ = oldest.hear() // which waits for the rest
			}()
			require.Eventually(t, oldest.heard.Load, 20*time.Second, time.Millisecond)
			require.False(t, hasSpoken(oldest.Conn), "it is taken")
		} else {
			close(ended)
			require.Eventually(t, func() bool { return hasSpoken(oldest.Conn) }, 20*time.Second, time.Millisecond)
		}
		require.Same(t, next, admitted(t, s))
		require.NoError(t, client.Close())
		<-ended
	}
}
