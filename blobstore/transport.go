package blobstore

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// idleConnsMax is how many connections to one host wait for their next
	// request: more than a node has requests in flight, so that none is opened
	// anew, with its handshakes, for a burst.
	idleConnsMax = 256
	idleConnFor  = 90 * time.Second
	dialTimeout  = 5 * time.Second
)

// transport carries a bucket's requests to its store. It is the bucket's own, so
// that Close can close its connections.
//
// It speaks HTTP/1.1 only: each request in flight has a connection of its own,
// and one that runs out of time takes only its own with it. An HTTP/2 connection
// that the network has swallowed would take every request sent on it until the
// system notices, minutes later.
type transport struct {
	http *http.Transport
	time storeClock
}

func (t *transport) clock() *storeClock { return &t.time }

func newTransport() *transport {
	var only1 http.Protocols
	only1.SetHTTP1(true)
	return &transport{http: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   2 * dialTimeout,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   idleConnsMax,
		IdleConnTimeout:       idleConnFor,
		DisableCompression:    true, // nothing may come back as other bytes
		Protocols:             &only1,
	}}
}

// Do is what S3's and Azure's SDKs call. An http.Client would put the URL into
// its errors, and Azure's may hold a token.
func (t *transport) Do(req *http.Request) (*http.Response, error) { return t.RoundTrip(req) }

// client is for those who want an http.Client. It follows no redirect, as Do
// follows none: a request that is signed for one host is not for another.
func (t *transport) client() *http.Client {
	return &http.Client{Transport: t, CheckRedirect: noRedirect}
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// close ends the idle connections, and makes those in use end with their request.
func (t *transport) close() { t.http.CloseIdleConnections() }

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	sent := time.Now()
	res, err := t.send(req)
	if err == nil {
		t.time.saw(res.Header, sent, time.Now())
	}
	return res, err
}

// send sends a request and its body. See [bodies].
func (t *transport) send(req *http.Request) (*http.Response, error) {
	sent, ok := req.Context().Value(bodiesKey{}).(*bodies)
	if !ok || req.Body == nil || req.Body == http.NoBody {
		return t.http.RoundTrip(req)
	}
	req = req.WithContext(req.Context())            // a copy: a RoundTripper changes no request
	req.Body, req.GetBody = sent.add(req.Body), nil // no second body that nobody counts
	return t.http.RoundTrip(req)
}

// bodies are those that requests under a context are sending. A store may answer
// before it has read a whole body, and net/http goes on sending it then while
// the caller, who has the answer, may already use its bytes for something else.
type bodies struct{ wg sync.WaitGroup }

type bodiesKey struct{}

// withBodies makes the requests under the returned context count their bodies.
func withBodies(ctx context.Context) (context.Context, *bodies) {
	b := new(bodies)
	return context.WithValue(ctx, bodiesKey{}, b), b
}

// wait blocks until no body is being read any more. net/http closes each when it
// is sent, or when its connection ends: with the answer, or with the context.
func (b *bodies) wait() { b.wg.Wait() }

func (b *bodies) add(body io.ReadCloser) io.ReadCloser {
	b.wg.Add(1)
	return &sentBody{ReadCloser: body, done: sync.OnceFunc(b.wg.Done)}
}

type sentBody struct {
	io.ReadCloser
	done func()
}

func (b *sentBody) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}
