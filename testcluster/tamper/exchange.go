package tamper

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// exchange is one request and its answer.
type exchange struct {
	p       *Proxy
	w       http.ResponseWriter
	r       *http.Request
	ctx     context.Context // ends with the proxy, not with the client
	subject string          // the key, as far as the URL names it
	kind    Kind
	rule    *Rule // nil: none
	line    line

	// Guarded by the proxy's lock.
	held, overtaken bool // is late; another one of its kind and subject was answered meanwhile
}

// ServeHTTP implements [http.Handler].
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{p: p, w: w, r: r, ctx: p.ctx, subject: subject(r), kind: kindOf(r)}
	delay, ok := x.enter()
	if !ok {
		x.hangUp(false)
		return
	}
	defer x.leave()
	if delay > 0 {
		p.counted(Latency)
		sleep(x.ctx, delay)
	}
	if x.rule == nil {
		x.pass(Fault{Do: Pass})
		return
	}
	x.tamper(x.rule.fault)
}

// enter notes the request, unless the proxy is closed, and finds its rule.
func (x *exchange) enter() (delay time.Duration, ok bool) {
	p := x.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, false
	}
	p.active[x] = struct{}{}
	for _, r := range p.rules {
		if r.takesLocked(x.kind, x.subject, x.r) {
			x.rule = r
			break
		}
	}
	x.line = p.line
	return p.latencyLocked(), true
}

func (x *exchange) leave() {
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	delete(x.p.active, x)
	x.p.changedLocked()
}

// tamper does what a fault does before the server hears of the request, and
// what it does after, in pass.
func (x *exchange) tamper(f Fault) {
	switch f.Do {
	case Refuse:
		_, _ = io.Copy(io.Discard, x.body()) // a client that hangs up won't see the answer either
		x.rule.did(hit)
		refuse(x.w, x.r, f)
	case Cut:
		x.rule.did(hit)
		x.hangUp(false)
	case Reset:
		_, _ = io.CopyN(io.Discard, x.body(), max(x.r.ContentLength/2, 1)) // the length may be unknown
		x.rule.did(hit)
		x.hangUp(true)
	case Hang:
		_, _ = io.Copy(io.Discard, x.body())
		x.rule.did(hit)
		x.keep(f)
		x.hangUp(false)
	case Late:
		x.late(f)
	default:
		x.pass(f)
	}
}

// late holds the request back.
func (x *exchange) late(f Fault) {
	body, err := io.ReadAll(x.body())
	if err != nil {
		x.hangUp(false) // the client has: there is no request
		return
	}
	x.r.Body = io.NopCloser(bytes.NewReader(body))
	x.line.up = nil // it has been this way
	x.rule.hold(1)
	defer x.rule.hold(-1)
	x.setHeld(true)
	x.rule.did(hit)
	x.wait(f)
	if x.setHeld(false) {
		x.rule.did(overtaken)
	}
	if x.ctx.Err() != nil {
		x.hangUp(false)
		return
	}
	x.pass(f)
}

// setHeld notes whether the request is held back, and says whether it was
// overtaken.
func (x *exchange) setHeld(held bool) bool {
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	x.held = held
	return x.overtaken
}

// keep holds the answer back as long as the client waits for it.
func (x *exchange) keep(f Fault) {
	x.rule.hold(1)
	defer x.rule.hold(-1)
	x.wait(f)
}

// wait waits for the fault's delay or its release, or the end of the proxy, and,
// unless the request is still to be passed on, of the client.
func (x *exchange) wait(f Fault) {
	var over <-chan time.Time
	if f.Delay > 0 && f.Do != Hang {
		t := time.NewTimer(f.Delay)
		defer t.Stop()
		over = t.C
	}
	gone := x.r.Context().Done()
	for {
		select {
		case <-over:
			return
		case <-x.rule.release:
			return
		case <-x.ctx.Done():
			return
		case <-gone:
			x.rule.did(givenUp)
			if f.Do != Late {
				return
			}
			gone = nil
		}
	}
}

// body is the request's, on the line.
func (x *exchange) body() io.Reader { return x.p.through(x.ctx, x.line.up, x.r.Body) }

// hangUp closes the connection without an answer.
func (x *exchange) hangUp(reset bool) {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // closes it as well
	}
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0) // RST; without it, FIN
	}
	_ = conn.Close()
}
