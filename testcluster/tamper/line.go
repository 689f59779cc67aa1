package tamper

import (
	"context"
	"io"
	"sync"
	"time"
)

// Line is how the way to the server is. The zero value is without bounds.
type Line struct {
	// Latency is added to every request, more or less by up to Jitter, drawn
	// evenly.
	Latency, Jitter time.Duration
	// BytesPerSecond bounds what all bodies together move, each way; 0:
	// nothing does.
	BytesPerSecond int
}

// line is a Line in force.
type line struct {
	Line
	up, down *pace // nil: without a bound
}

// SetLine sets how the way to the server is, for requests from now on.
func (p *Proxy) SetLine(l Line) {
	n := line{Line: l}
	if l.BytesPerSecond > 0 {
		n.up, n.down = &pace{rate: l.BytesPerSecond}, &pace{rate: l.BytesPerSecond}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line = n
}

// latencyLocked draws how long a request is delayed.
func (p *Proxy) latencyLocked() time.Duration {
	l := p.line
	if l.Latency <= 0 && l.Jitter <= 0 {
		return 0
	}
	return max(l.Latency+time.Duration((2*p.drawLocked()-1)*float64(l.Jitter)), 0)
}

// counted counts an effect of the line.
func (p *Proxy) counted(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.counts[name]
	c.Hits++
	p.counts[name] = c
	p.changedLocked()
}

// pieceBytes is what moves at once on a throttled line.
const pieceBytes = 16 << 10

// pace hands out the throughput of a line, in the order of those who ask.
type pace struct {
	rate int // bytes per second

	mu   sync.Mutex
	next time.Time // when all that was handed out has moved
}

// take says how long n bytes have to wait.
func (s *pace) take(n int) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.next.Before(now) {
		s.next = now
	}
	s.next = s.next.Add(time.Duration(n) * time.Second / time.Duration(s.rate))
	return s.next.Sub(now)
}

// paced is a body on a throttled line.
type paced struct {
	io.Reader
	p    *Proxy
	pace *pace
	ctx  context.Context
}

func (b *paced) Read(buf []byte) (int, error) {
	n, err := b.Reader.Read(buf[:min(len(buf), pieceBytes)])
	if n > 0 {
		b.p.counted(Throttle)
		sleep(b.ctx, b.pace.take(n))
	}
	return n, err
}

// through is a body on the line, one way.
func (p *Proxy) through(ctx context.Context, s *pace, body io.Reader) io.Reader {
	if s == nil || body == nil {
		return body
	}
	return &paced{body, p, s, ctx}
}

// sleep waits, at most until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
