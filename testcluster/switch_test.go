package testcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/wpd-io/wpd/testcluster/bubble"
)

func newTestSwitch() *Switch { return NewSwitch(rand.New(rand.NewPCG(1, 2))) }

// pair connects two hosts: a dials b.
func pair(t testing.TB, s *Switch, from, to string) (dialled, accepted net.Conn) {
	t.Helper()
	l, err := s.Host(to).Listen(to + ":0")
	require.NoError(t, err)
	defer l.Close() //nolint:errcheck // nothing waits for it
	dialled, err = s.Host(from).Dial(t.Context(), l.Addr().String())
	require.NoError(t, err)
	accepted, err = l.Accept()
	require.NoError(t, err)
	return dialled, accepted
}

// TestSwitchIsANetwork holds its connections against the suite for net.Conn,
// plain and over slow links.
func TestSwitchIsANetwork(t *testing.T) {
	for name, normal := range map[string]Link{
		"at once": {},
		"slow":    {Delay: 200 * time.Microsecond, Jitter: 300 * time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				s := newTestSwitch()
				s.Normal("", "", normal)
				c1, c2 = pair(t, s, "a", "b")
				return c1, c2, func() {
					_, _ = c1.Close(), c2.Close()
					require.Empty(t, s.cables, "a connection that is closed is forgotten")
				}, nil
			})
		})
	}
}

func TestSwitchAddresses(t *testing.T) {
	s := newTestSwitch()
	a, b := s.Host("a"), s.Host("b")
	require.Same(t, a, s.Host("a"))
	l, err := b.Listen("b:7071")
	require.NoError(t, err)
	require.Equal(t, "b:7071", l.Addr().String())
	_, err = b.Listen(":7071")
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	_, err = b.Listen("a:7071")
	require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
	_, err = b.Listen("b")
	require.ErrorContains(t, err, "missing port")
	_, err = b.Listen("b:x")
	require.ErrorContains(t, err, "not a number from 0 to 65535")
	p, err := b.ListenPacket("0.0.0.0:7071")
	require.NoError(t, err, "packets have ports of their own")
	_, err = b.ListenPacket("b:7071")
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	_, err = a.Dial(t.Context(), "b:7072")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	_, err = a.Dial(t.Context(), "c:7071")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	for _, from := range []struct {
		host *Host
		addr string
	}{{a, "b:7071"}, {a, net.JoinHostPort(b.IP().String(), "7071")}, {b, "127.0.0.1:7071"}, {b, "localhost:7071"}} {
		c, err := from.host.Dial(t.Context(), from.addr)
		require.NoError(t, err, from.addr)
		require.Equal(t, "b:7071", c.RemoteAddr().String())
		there, err := l.Accept()
		require.NoError(t, err)
		require.Equal(t, c.LocalAddr(), there.RemoteAddr())
		require.NoError(t, errors.Join(c.Close(), there.Close(), p.SetReadDeadline(time.Unix(1, 0))))
	}
	ips, err := a.LookupHost(t.Context(), "b")
	require.NoError(t, err)
	require.Equal(t, []string{b.IP().String()}, ips)
	_, err = a.LookupHost(t.Context(), "c")
	require.ErrorContains(t, err, "no such host")
	x := s.Host("192.168.7.9")
	require.Equal(t, "192.168.7.9", x.IP().String())
	require.NoError(t, errors.Join(l.Close(), p.Close()))
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = a.Dial(t.Context(), "b:7071")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// read reads so many bytes, or says why it can't.
func read(c net.Conn, n int) ([]byte, error) {
	b := make([]byte, n)
	n, err := io.ReadFull(c, b)
	return b[:n], err
}

// quiet checks that nothing comes within a second.
func quiet(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Second)))
	n, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Zero(t, n)
	require.NoError(t, c.SetReadDeadline(time.Time{}))
}

func write(t *testing.T, c net.Conn, b string) {
	t.Helper()
	_, err := io.WriteString(c, b)
	require.NoError(t, err)
}

func expectRead(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got, err := read(c, len(want))
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

// TestSwitchStalls: what is cut is silent, loses nothing, and goes on.
func TestSwitchStalls(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newTestSwitch()
		c, d := pair(t, s, "a", "b")
		write(t, c, "1") // has arrived, though nobody has read it yet
		s.Partition(Stalled, []string{"a"}, []string{"b", "x"})
		expectRead(t, d, "1")
		write(t, c, "2")
		write(t, d, "3")
		quiet(t, c)
		quiet(t, d)
		require.Equal(t, 1, s.Counts("a", "b").BytesHeld)
		require.Equal(t, 1, s.Counts("b", "a").BytesHeld)
		require.Zero(t, s.Counts("b", "x").Hit(), "within a group all is well")

		// A dial hangs, as long as it may, and goes on too.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := s.Host("a").Dial(ctx, "b:1")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		start := time.Now()
		_, err = s.Host("a").Dial(t.Context(), "b:1")
		require.ErrorIs(t, err, syscall.ETIMEDOUT)
		require.Equal(t, dialPatience, time.Since(start))
		time.AfterFunc(time.Second, s.Heal)
		_, err = s.Host("a").Dial(t.Context(), "b:1")
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.Equal(t, 3, s.Counts("a", "b").DialsStalled)

		expectRead(t, d, "2")
		expectRead(t, c, "3")
		require.NoError(t, errors.Join(c.Close(), d.Close()))
	})
}

// TestSwitchStallsOneWay: the other way stays open for a window's worth.
func TestSwitchStallsOneWay(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newTestSwitch()
		c, d := pair(t, s, "a", "b")
		s.Cut(Stalled, "a", "b")
		write(t, c, "lost for now")
		quiet(t, d)

		sent := make(chan int)
		go func() {
			n, err := d.Write(make([]byte, 2*cableBytes))
			if err != nil {
				n = -1
			}
			sent <- n
		}()
		_, err := read(c, cableBytes)
		require.NoError(t, err)
		quiet(t, c)
		s.Heal()
		_, err = read(c, cableBytes)
		require.NoError(t, err)
		require.Equal(t, 2*cableBytes, <-sent)
		expectRead(t, d, "lost for now")

		for _, way := range []route{{"a", "b"}, {"b", "a"}} {
			s.Cut(Stalled, way.from, way.to)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err = s.Host("a").Dial(ctx, "b:1")
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded, "a dial needs both ways: %v", way)
			s.Heal()
		}
		require.NoError(t, errors.Join(c.Close(), d.Close()))
	})
}

func TestSwitchBreaks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newTestSwitch()
		c, d := pair(t, s, "a", "b")
		e, f := pair(t, s, "b", "a")
		g, h := pair(t, s, "a", "x")
		write(t, c, "never read")
		reading := make(chan error)
		go func() {
			_, err := c.Read(make([]byte, 1))
			reading <- err
		}()
		synctest.Wait()
		s.Partition(Broken, []string{"a"}, []string{"b"})
		require.ErrorIs(t, <-reading, syscall.ECONNRESET)
		for _, x := range []net.Conn{c, d, e, f} {
			_, err := x.Read(make([]byte, 1))
			require.ErrorIs(t, err, syscall.ECONNRESET)
			_, err = x.Write([]byte("x"))
			require.ErrorIs(t, err, syscall.ECONNRESET)
			require.NoError(t, x.Close())
		}
		_, err := s.Host("b").Dial(t.Context(), "a:1")
		require.ErrorIs(t, err, syscall.EHOSTUNREACH)
		require.Equal(t, Counts{Conns: 2, Bytes: 10, ConnsBroken: 4, BytesLost: 10, DialsRefused: 1}, s.Between("a", "b"))
		write(t, g, "whole")
		expectRead(t, h, "whole")
		s.Heal()
		_, err = s.Host("b").Dial(t.Context(), "a:1")
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.NoError(t, errors.Join(g.Close(), h.Close()))
		require.Empty(t, s.cables)
	})
}

// TestSwitchPauses: a paused host is silent, takes connections that it does not
// answer, and goes on with all that waited.
func TestSwitchPauses(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newTestSwitch()
		c, d := pair(t, s, "a", "b")
		l, err := s.Host("b").Listen("b:1")
		require.NoError(t, err)
		p, err := s.Host("b").ListenPacket("b:1")
		require.NoError(t, err)
		write(t, c, "arrived")
		s.Pause("b")
		s.Heal() // is something else
		quiet(t, d)
		write(t, d, "not sent")
		quiet(t, c)
		e, err := s.Host("a").Dial(t.Context(), "b:1")
		require.NoError(t, err, "its kernel takes it")
		write(t, e, "hello")
		accepted := make(chan net.Conn, 1)
		go func() {
			f, err := l.Accept()
			if err == nil {
				accepted <- f
			}
		}()
		q, err := s.Host("a").ListenPacket("a:1")
		require.NoError(t, err)
		_, err = q.WriteTo([]byte("packet"), p.LocalAddr())
		require.NoError(t, err)
		require.NoError(t, p.SetReadDeadline(time.Now().Add(time.Second)))
		_, _, err = p.ReadFrom(make([]byte, 10))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Empty(t, accepted)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err = s.Host("b").Dial(ctx, "a:1")
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)

		require.Equal(t, Counts{Conns: 2, Bytes: 12, BytesHeld: 5, Packets: 1, PacketsHeld: 1}, s.Counts("a", "b"))
		require.Equal(t, Counts{Bytes: 8, BytesHeld: 8, DialsStalled: 1}, s.Counts("b", "a"))
		s.Resume("b")
		f := <-accepted
		expectRead(t, f, "hello")
		expectRead(t, d, "arrived")
		expectRead(t, c, "not sent")
		require.NoError(t, p.SetReadDeadline(time.Time{}))
		b := make([]byte, 10)
		n, from, err := p.ReadFrom(b)
		require.NoError(t, err)
		require.Equal(t, "packet", string(b[:n]))
		require.Equal(t, "a:1", from.String())
		require.NoError(t, errors.Join(c.Close(), d.Close(), e.Close(), f.Close(), l.Close(), p.Close(), q.Close()))
	})
}

// TestSwitchPausesWhatIsCut: a pause of a host and a cut of its link may overlap.
// Whichever comes first, what was held up has not arrived, and stays held up until
// both have ended.
func TestSwitchPausesWhatIsCut(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newTestSwitch()
		cut := func() { s.Cut(Stalled, "a", "b") }
		for _, host := range []string{"a", "b"} {
			pause, resume := func() { s.Pause(host) }, func() { s.Resume(host) }
			for _, do := range [][4]func(){{cut, pause, resume, s.Heal}, {pause, cut, resume, s.Heal}, {pause, cut, s.Heal, resume}} {
				c, d := pair(t, s, "a", "b")
				before := s.Counts("a", "b")
				do[0]()
				write(t, c, "held")
				quiet(t, d)
				do[1]()
				quiet(t, d)
				do[2]()
				quiet(t, d)
				do[3]()
				expectRead(t, d, "held")
				require.Equal(t, Counts{Bytes: 4, BytesHeld: 4}, s.Counts("a", "b").Since(before), host)
				require.NoError(t, errors.Join(c.Close(), d.Close()))
			}
		}
	})
}

// TestSwitchUnplugs: what a host sent arrives, then its connections break; the
// next life has nothing of the last.
func TestSwitchUnplugs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newTestSwitch()
		s.Normal("", "", Link{Delay: 10 * time.Millisecond})
		c, d := pair(t, s, "a", "b")
		b := s.Host("b")
		l, err := b.Listen("b:1")
		require.NoError(t, err)
		p, err := b.ListenPacket("b:1")
		require.NoError(t, err)
		waiting, err := s.Host("a").Dial(t.Context(), "b:1")
		require.NoError(t, err)
		write(t, d, "last words")
		b.Unplug()
		b.Unplug()
		_, err = d.Write([]byte("x"))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = d.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = l.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		_, _, err = p.ReadFrom(make([]byte, 1))
		require.ErrorIs(t, err, errUnplugged)
		_, err = p.WriteTo(nil, address{"udp", "a", 1})
		require.ErrorIs(t, err, errUnplugged)
		_, err = b.Dial(t.Context(), "a:1")
		require.ErrorIs(t, err, errUnplugged)
		_, err = b.Listen("b:1")
		require.ErrorIs(t, err, errUnplugged)
		_, err = b.ListenPacket("b:1")
		require.ErrorIs(t, err, errUnplugged)
		write(t, c, "into the void")
		expectRead(t, c, "last words")
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = c.Write([]byte("x"))
		require.ErrorIs(t, err, syscall.EPIPE)
		_, err = waiting.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = s.Host("a").Dial(t.Context(), "b:1")
		require.ErrorIs(t, err, syscall.ECONNREFUSED)

		next := s.Host("b")
		require.NotSame(t, b, next)
		require.Equal(t, b.IP(), next.IP())
		l, err = next.Listen("b:1")
		require.NoError(t, err)
		e, err := s.Host("a").Dial(t.Context(), "b:1")
		require.NoError(t, err)
		require.NoError(t, errors.Join(c.Close(), d.Close(), e.Close(), waiting.Close()))
		require.NoError(t, l.Close())
		require.Empty(t, s.cables)
	})
}

// TestSwitchDelays: a connection keeps its order whatever the jitter is; a
// deadline that passes first is honoured.
func TestSwitchDelays(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newTestSwitch()
		start := time.Now()
		s.Normal("", "", Link{Delay: 100 * time.Millisecond})
		c, d := pair(t, s, "a", "b")
		require.Equal(t, 200*time.Millisecond, time.Since(start), "a dial takes a round trip")
		s.Set("a", "b", Link{Delay: 10 * time.Millisecond, Jitter: 100 * time.Millisecond})
		start = time.Now()
		var want bytes.Buffer
		for i := range 100 {
			fmt.Fprintf(&want, "%03d", i)
			_, err := c.Write(want.Bytes()[3*i:])
			require.NoError(t, err)
		}
		require.Zero(t, time.Since(start), "who sends does not wait")
		require.NoError(t, d.SetReadDeadline(start.Add(5*time.Millisecond)))
		_, err := d.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 5*time.Millisecond, time.Since(start))
		require.NoError(t, d.SetReadDeadline(time.Time{}))
		expectRead(t, d, want.String())
		require.Greater(t, time.Since(start), 50*time.Millisecond)
		require.Less(t, time.Since(start), 110*time.Millisecond)
		require.NoError(t, c.Close())
		_, err = d.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		require.NoError(t, d.Close())
	})
}

// TestSwitchPackets counts what comes of 10,000 packets.
func TestSwitchPackets(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newTestSwitch()
		s.Set("a", "b", Link{Delay: time.Millisecond, Drop: 0.1, Duplicate: 0.1, Reorder: 0.1})
		p, err := s.Host("a").ListenPacket("a:1")
		require.NoError(t, err)
		q, err := s.Host("b").ListenPacket("b:1")
		require.NoError(t, err)
		const sent = 10000
		got := make(chan []int)
		go func() {
			var all []int
			for b := make([]byte, 10); ; {
				n, _, err := q.ReadFrom(b)
				if err != nil {
					got <- all
					return
				}
				var i int
				_, _ = fmt.Sscan(string(b[:n]), &i)
				all = append(all, i)
			}
		}()
		for i := range sent {
			_, err := p.WriteTo(fmt.Append(nil, i), q.LocalAddr())
			require.NoError(t, err)
			time.Sleep(100 * time.Microsecond)
		}
		s.Cut(Stalled, "a", "b")
		_, err = p.WriteTo([]byte("lost"), q.LocalAddr())
		require.NoError(t, err)
		_, err = p.WriteTo([]byte("to nobody"), address{"udp", "x", 1})
		require.NoError(t, err)
		_, err = p.WriteTo(make([]byte, packetBytesMax+1), q.LocalAddr())
		require.ErrorIs(t, err, syscall.EMSGSIZE)
		time.Sleep(time.Second)
		require.NoError(t, q.Close())
		all := <-got
		times, behind, last := make(map[int]int), 0, -1
		for _, i := range all {
			times[i]++
			if i < last {
				behind++
			}
			last = max(last, i)
		}
		twice := len(all) - len(times)
		c := s.Counts("a", "b")
		require.Equal(t, sent+1, c.Packets)
		require.Equal(t, sent-len(times), c.PacketsDropped-1)
		require.Equal(t, twice, c.PacketsDuplicated)
		require.InDelta(t, sent/10, c.PacketsDropped, sent/50)
		require.InDelta(t, sent/10, twice, sent/50)
		require.InDelta(t, sent/10, c.PacketsReordered, sent/50)
		require.Greater(t, behind, c.PacketsReordered/2)
		require.NoError(t, p.Close())
		require.ErrorIs(t, p.Close(), net.ErrClosed)
	})
}

// TestSwitchLosesNothing sends at random over links that stall, slow down and
// heal at random, and holds what arrives against what was sent.
func TestSwitchLosesNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(3, 4))
		s := newTestSwitch()
		s.Normal("", "", Link{Delay: time.Millisecond, Jitter: 4 * time.Millisecond}) // so that time passes
		hosts := []string{"a", "b", "c"}
		var wg sync.WaitGroup
		done := make(chan struct{})
		for i := range 12 {
			c, d := pair(t, s, hosts[i%3], hosts[(i+i/6+1)%3])
			for _, x := range [][2]net.Conn{{c, d}, {d, c}} {
				seed := rnd.Uint64()
				wg.Go(func() { // who sends
					own := rand.New(rand.NewPCG(seed, 0))
					for left := 2 << 20; left > 0; {
						b := make([]byte, min(left, 1+own.IntN(100000)))
						for i := range b {
							b[i] = byte(left - i)
						}
						n, err := x[0].Write(b)
						if err != nil || n != len(b) {
							t.Errorf("wrote %d of %d: %v", n, len(b), err)
							return
						}
						left -= n
					}
				})
				wg.Go(func() {
					b := make([]byte, 70000)
					for left := 2 << 20; left > 0; {
						n, err := x[1].Read(b[:min(left, len(b))])
						if err != nil {
							t.Error(err)
							return
						}
						for i := range n {
							if b[i] != byte(left-i) {
								t.Errorf("%d bytes before the end: other bytes", left-i)
								return
							}
						}
						left -= n
					}
				})
			}
			defer func() { require.NoError(t, errors.Join(c.Close(), d.Close())) }()
		}
		go func() {
			wg.Wait()
			close(done)
		}()
		for over := false; !over; {
			from, to := hosts[rnd.IntN(3)], hosts[rnd.IntN(3)]
			switch rnd.IntN(6) {
			case 0:
				s.Cut(Stalled, from, to)
			case 1:
				s.Heal()
			case 2:
				s.Pause(from)
			case 3:
				s.Resume(from)
			case 4:
				s.Set(from, to, Link{Delay: time.Duration(rnd.IntN(20)) * time.Millisecond, Jitter: 20 * time.Millisecond})
			case 5:
				for _, h := range hosts {
					s.Resume(h)
				}
				s.Heal()
			}
			select {
			case <-done:
				over = true
			case <-time.After(time.Duration(rnd.IntN(4000)) * time.Microsecond):
			}
		}
		require.Greater(t, s.Counts("", "").BytesHeld, 1<<20)
	})
}

// TestSwitchCarriesGRPC: calls and streams over a network with weather, in a
// bubble: a stalled connection is given up by its keepalive, a broken one at
// once, and calls go on when it heals.
func TestSwitchCarriesGRPC(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := newTestSwitch()
		s.Normal("", "", Link{Delay: time.Millisecond, Jitter: time.Millisecond})
		l, err := s.Host("b").Listen("b:1")
		require.NoError(t, err)
		server := grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second}))
		status := health.NewServer()
		healthpb.RegisterHealthServer(server, status)
		serving := make(chan error, 1)
		go func() { serving <- server.Serve(l) }()
		cc, err := grpc.NewClient("passthrough:///b:1",
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(s.Host("a").Dial),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}))
		require.NoError(t, err)
		client := healthpb.NewHealthClient(cc)
		call := func(patience time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err := client.Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
			return err
		}
		watch, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
		require.NoError(t, err)
		_, err = watch.Recv()
		require.NoError(t, err)
		for range 100 {
			require.NoError(t, call(time.Second))
		}
		before := s.Between("a", "b")
		s.Partition(Stalled, []string{"a"}, []string{"b"})
		require.Error(t, call(time.Second))
		_, err = watch.Recv()
		require.ErrorContains(t, err, "keepalive")
		require.Positive(t, s.Between("a", "b").Since(before).BytesHeld)
		s.Heal()
		require.NoError(t, call(time.Minute))

		s.Partition(Broken, []string{"a"}, []string{"b"})
		require.Error(t, call(time.Second))
		require.Equal(t, 2, s.Between("a", "b").ConnsBroken, "seen from both ends")
		s.Heal()
		require.NoError(t, call(time.Minute))

		s.Pause("b")
		require.Error(t, call(time.Second))
		s.Resume("b")
		require.NoError(t, call(time.Minute))
		require.NoError(t, cc.Close())
		server.GracefulStop()
		require.NoError(t, <-serving)
		require.Empty(t, s.cables)
	})
}
