package siege

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wpd-io/wpd/fragment"
)

// TimeMax is how long an attack may take.
const TimeMax = time.Minute

// Attack is one way to behave badly.
type Attack struct {
	Name  string
	About string // what it does, for people
	run   func(ctx context.Context, s *siege)
}

// Attacks are all that there are.
func Attacks() []Attack {
	return []Attack{
		{"half-open streams", "20,000 calls on 80 connections, whose requests do not come", halfOpen},
		{"silent sockets", "400 connections that say nothing, or half of a hello", silentSockets},
		{"header flood", "headers of 20 KiB, and headers without an end, on 8 connections", headerFlood},
		{"rapid resets", "calls that are taken back at once, on 8 connections", rapidResets},
		{"giant entries", "50 entries of 100 MB at once", giantEntries},
		{"giant frames", "frames of 16 MB, on 8 connections", giantFrames},
		{"malformed messages", "requests that are none, on 8 connections", malformedMessages},
	}
}

// Config says who is attacked, and how.
type Config struct {
	Addr   string // host:port, on the loopback
	Attack string // name of one of Attacks
	Time   time.Duration
	Log    fragment.LogID // that entries are meant for
}

// Report says what was done.
type Report struct {
	Connections int64 `json:"connections"` // that were made
	Refused     int64 `json:"refused"`     // of these, closed by the server
	Streams     int64 `json:"streams"`     // that were begun
	Ended       int64 `json:"ended"`       // of these, by the server
	Bytes       int64 `json:"bytes"`       // that were sent
}

// siege is an attack under way.
type siege struct {
	addr string
	log  fragment.LogID
	wg   sync.WaitGroup

	connections, refused, streams, ended, bytes atomic.Int64
}

// Run attacks until the time is over, or ctx ends; that is no error. begun is
// called first, once all is checked.
func Run(ctx context.Context, c Config, begun func()) (Report, error) {
	if c.Time <= 0 || c.Time > TimeMax {
		return Report{}, fmt.Errorf("an attack of %v, want more than nothing and at most %v", c.Time, TimeMax)
	}
	if err := CheckAddr(ctx, c.Addr); err != nil {
		return Report{}, err
	}
	for _, a := range Attacks() {
		if a.Name == c.Attack {
			s := &siege{addr: c.Addr, log: c.Log}
			ctx, cancel := context.WithTimeout(ctx, c.Time)
			defer cancel()
			begun()
			a.run(ctx, s)
			s.wg.Wait()
			return s.report(), nil
		}
	}
	return Report{}, fmt.Errorf("there is no attack %q", c.Attack)
}

// CheckAddr says why an address, host:port, may not be attacked: each that its
// host stands for must be on the loopback.
func CheckAddr(ctx context.Context, addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return err
	}
	for _, ip := range ips {
		if !ip.IP.IsLoopback() {
			return fmt.Errorf("%s is not on this machine's loopback, and nothing else is attacked", addr)
		}
	}
	return nil
}

func (s *siege) report() Report {
	return Report{
		Connections: s.connections.Load(), Refused: s.refused.Load(),
		Streams: s.streams.Load(), Ended: s.ended.Load(), Bytes: s.bytes.Load(),
	}
}

// errLoopback: a name that stood for the loopback stands for something else now.
var errLoopback = errors.New("the server is not on the loopback")

// dial makes a connection, which is closed when ctx ends.
func (s *siege) dial(ctx context.Context) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	if a, ok := c.RemoteAddr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		return nil, errors.Join(errLoopback, c.Close())
	}
	s.connections.Add(1)
	context.AfterFunc(ctx, func() { _ = c.Close() })
	return c, nil
}

// again is how soon a client comes back whose connection the server has closed.
const again = 200 * time.Millisecond

// each lets n clients do something with a connection of their own until ctx
// ends, each again and again.
func (s *siege) each(ctx context.Context, n int, do func(c *conn, client int)) {
	for i := range n {
		s.wg.Go(func() {
			for ctx.Err() == nil {
				if c, err := s.connect(ctx); err == nil {
					do(c, i)
					c.close(ctx)
				}
				pause(ctx, again)
			}
		})
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
