package tamper

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// pass passes the request to the server, and does to the answer what the fault
// does.
func (x *exchange) pass(f Fault) {
	answer, err := x.p.upstream.RoundTrip(x.forward())
	if err != nil {
		x.hangUp(true) // as the server's own connection did
		return
	}
	defer answer.Body.Close() // of what was only read
	x.answered(answer)
	if f.Do == Pass || f.Do == Late {
		x.relay(answer, answer.Body)
		return
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		x.hangUp(true)
		return
	}
	x.after(f, answer, body)
}

// forward makes the request for the server. It doesn't end with the client's,
// but its body does.
func (x *exchange) forward() *http.Request {
	out := x.r.Clone(x.ctx)
	out.RequestURI = ""
	out.URL.Scheme, out.URL.Host = "http", x.p.target
	if !signed(x.r) {
		out.Host = x.p.target
	}
	out.Body = nil // without this a length of zero would be sent as unknown
	if x.r.ContentLength != 0 {
		out.Body = io.NopCloser(x.body())
	}
	for _, name := range []string{"Connection", "Expect", "Keep-Alive", "Te", "Upgrade"} { // they are about this connection
		out.Header.Del(name)
	}
	return out
}

// answered counts an answer of the server.
func (x *exchange) answered(answer *http.Response) {
	x.p.mu.Lock()
	x.p.reached++
	for other := range x.p.active {
		if other.held && other.kind == x.kind && other.subject == x.subject {
			other.overtaken = true
		}
	}
	x.p.changedLocked()
	x.p.mu.Unlock()
	if x.rule != nil && x.rule.fault.Do == Late && success(answer) {
		x.rule.did(applied)
	}
}

func success(answer *http.Response) bool { return answer.StatusCode/100 == 2 }

// after does what a fault does to an answer.
func (x *exchange) after(f Fault, answer *http.Response, body []byte) {
	spoils := f.Do == Short || f.Do == Tear || f.Do == Flip
	if (spoils || f.Do == Lie) && !success(answer) || spoils && len(body) == 0 {
		x.relay(answer, bytes.NewReader(body)) // nothing for this fault
		return
	}
	x.rule.did(hit)
	if success(answer) {
		x.rule.did(applied)
	}
	left := max(len(body)-f.Bytes, 0)
	switch f.Do {
	case Lie:
		refuse(x.w, x.r, f)
	case Drop:
		x.hangUp(false)
	case Slow:
		x.keep(f)
		x.relay(answer, bytes.NewReader(body))
	case Short:
		answer.Header.Set("Content-Length", strconv.Itoa(left))
		x.relay(answer, bytes.NewReader(body[:left]))
	case Tear:
		answer.Header.Set("Content-Length", strconv.Itoa(len(body)))
		x.relay(answer, bytes.NewReader(body[:left]))
	case Flip:
		body[left] ^= 1
		x.relay(answer, bytes.NewReader(body))
	}
}

// relay gives the client an answer.
func (x *exchange) relay(answer *http.Response, body io.Reader) {
	h := x.w.Header()
	for name, values := range answer.Header {
		h[name] = values
	}
	h.Del("Connection")
	if h.Get("Content-Type") == "" {
		h["Content-Type"] = nil // nothing is to guess it
	}
	x.w.WriteHeader(answer.StatusCode)
	if x.r.Method == http.MethodHead {
		return
	}
	// One that is shorter than it says closes the connection, and so must one
	// without a length that breaks off.
	if _, err := io.Copy(x.w, x.p.through(x.ctx, x.line.down, body)); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// signed says whether the client has signed the Host, as those of S3 do.
func signed(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-") || r.URL.Query().Has("X-Amz-Signature")
}
