package tamper

import (
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Proxy is a server on loopback that passes requests to another one. Use
// [Start]. Safe for concurrent use.
type Proxy struct {
	target   string
	listener net.Listener
	server   *http.Server
	upstream *http.Transport
	ctx      context.Context // ends with the proxy
	cancel   context.CancelFunc
	serving  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	rnd     *rand.Rand
	line    line
	rules   []*Rule
	counts  map[string]Count
	reached int
	active  map[*exchange]struct{}
	change  chan struct{} // closed and replaced when a count changes
	closed  bool
}

// Start makes a proxy for the server at target, HOST:PORT, on a free port of
// loopback, and serves until Close. rnd is the proxy's own from then on; nil: a
// new one.
func Start(target string, rnd *rand.Rand) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("tamper: %w", err)
	}
	if rnd == nil {
		rnd = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	p := &Proxy{
		target: target, listener: l, rnd: rnd,
		upstream: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
		counts:   make(map[string]Count), active: make(map[*exchange]struct{}), change: make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	// What the server would log are clients that hang up.
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	p.serving.Go(func() { _ = p.server.Serve(l) }) // it ends by Close
	return p, nil
}

// Addr is HOST:PORT of the proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Add puts a fault into force, behind those that are.
func (p *Proxy) Add(f Fault) *Rule {
	r := &Rule{p: p, fault: f.withDefaults(), release: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, r)
	return r
}

// Clear takes all rules and the line's back, and releases what they hold.
func (p *Proxy) Clear() {
	p.SetLine(Line{})
	p.mu.Lock()
	rules := p.rules
	p.rules = nil
	for _, r := range rules {
		r.removed = true
	}
	p.mu.Unlock()
	for _, r := range rules {
		r.Release()
	}
}

// sweepLocked drops the rules that were removed.
func (p *Proxy) sweepLocked() {
	p.rules = slices.DeleteFunc(p.rules, func(r *Rule) bool { return r.removed })
}

// Counts tells what took effect so far, by name.
func (p *Proxy) Counts() map[string]Count {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.counts)
}

// Reached counts the requests that the server has answered.
func (p *Proxy) Reached() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reached
}

// Idle blocks until no request is under way whose key contains that part, or ctx
// ends. What a rule holds is under way.
func (p *Proxy) Idle(ctx context.Context, key string) error {
	return p.until(ctx, func() bool {
		for x := range p.active {
			if strings.Contains(x.subject, key) {
				return false
			}
		}
		return true
	})
}

// Close drops what is held and what is under way, and returns when nothing of
// the proxy is left. It may be called again.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	err := p.server.Close()
	_ = p.until(context.Background(), func() bool { return len(p.active) == 0 }) // no end but that
	p.serving.Wait()
	p.upstream.CloseIdleConnections()
	if err != nil {
		return fmt.Errorf("tamper: close: %w", err)
	}
	return nil
}

// until blocks until cond, which is called under the lock, or ctx ends.
func (p *Proxy) until(ctx context.Context, cond func() bool) error {
	for {
		p.mu.Lock()
		ok, change := cond(), p.change
		p.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-change:
		}
	}
}

// changedLocked wakes those in until.
func (p *Proxy) changedLocked() {
	close(p.change)
	p.change = make(chan struct{})
}

// drawLocked draws from [0, 1).
func (p *Proxy) drawLocked() float64 { return p.rnd.Float64() }
