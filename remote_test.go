package wpd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc/server"
	"github.com/wpd-io/wpd/testcluster"
)

// backends are the ways to a service that the tests of this package take: the
// service itself, as in an embedded node, and one that was dialled. What is
// promised is the same.
var backends = []string{"embedded", "remote"}

// open returns a client of a model by a backend, and what closes all of it.
func (m *model) open(t testing.TB, backend string) (c *wpd.Client, done func()) {
	t.Helper()
	if backend == "embedded" {
		c := m.client()
		return c, func() {
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	}
	return m.dial(t, &testcluster.Network{})
}

// dial serves a model on a network, and returns a client that has dialled it.
func (m *model) dial(t testing.TB, network *testcluster.Network) (c *wpd.Client, done func()) {
	t.Helper()
	s, err := server.New(server.Config{Logs: served{m}, ClusterID: "5f1c5e0e-9a4d-4d0a-8d5e-6d1c7a0d5c11"})
	if err != nil {
		t.Fatal(err)
	}
	l := network.Listen()
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) }) // until it is closed
	c, err = wpd.Dial(t.Context(), "model:1", wpd.WithDialer(network.DialContext))
	if err != nil {
		t.Fatal(err)
	}
	return c, func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("close the server: %v", err)
		}
		serving.Wait()
		_ = m.close()
	}
}

// served is a model as a server needs it.
type served struct{ *model }

func (s served) Limits(id fragment.LogID) (fragment.Limits, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := s.logLocked(id)
	if err != nil {
		return fragment.Limits{}, err
	}
	return fragment.Limits{EntryBytesMax: int(l.info.Config.EntryBytesMax)}, nil
}

// A node that closes is no end for who dialled it: the writer goes on when it,
// or another one, is there again.
func TestServiceComesBack(t *testing.T) {
	inWorldOf(t, "remote", func(t *testing.T, w *world) {
		writer := w.writer(wpd.Linger(0))
		w.wantLSN(w.async(writer, "a"), 1)
		tried := 0
		w.setFault(func(*attempt) fault {
			if tried++; tried < 5 {
				return closing
			}
			return fine
		})
		p := w.async(writer, "b")
		w.wantLSN(p, 2)
		if tried != 5 {
			t.Errorf("%d attempts, want 5", tried)
		}
		w.wantContents("a", "b")
	})
}

func TestDialErrors(t *testing.T) {
	for _, addrs := range []string{"", " , ", "localhost", "a:b"} {
		if _, err := wpd.Dial(t.Context(), addrs); !errors.Is(err, wpd.ErrInvalid) {
			t.Errorf("Dial(%q): %v, want ErrInvalid", addrs, err)
		}
	}
	refused := errors.New("nobody there")
	_, err := wpd.Dial(t.Context(), "a:1, b:2", wpd.WithDialer(func(_ context.Context, addr string) (net.Conn, error) {
		return nil, fmt.Errorf("%w, at %s", refused, addr)
	}))
	if want := "unavailable: a:1: nobody there, at a:1; b:2: nobody there, at b:2"; !errors.Is(err, wpd.ErrUnavailable) || err.Error() != want {
		t.Errorf("Dial: %v, want %s", err, want)
	}
}
