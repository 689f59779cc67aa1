package main

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// heldMost is how many creates a proxy holds back. A load that waits for their
// acknowledgements may have no more to send.
const heldMost = 2

// createTakes makes the store one with latency: fragments are fewer and larger.
const createTakes = 20 * time.Millisecond

// TestWeatherStore holds creates of a writer back in a proxy in front of the
// store, and lets them land after the take-over, the last one first.
func TestWeatherStore(t *testing.T) {
	store := newS3(t)
	for _, kv := range append(store.env(), "AWS_RESPONSE_CHECKSUM_VALIDATION=when_required") { // it has none
		key, value, _ := strings.Cut(kv, "=")
		t.Setenv(key, value)
	}
	proxies := make(map[int]*storeProxy) // by the node behind it
	s := newSky(t, 3, func(s *sky) {
		s.bucket, s.more = store.url(), []string{"--window", strconv.Itoa(heldMost)}
		s.seen = func(i int) string {
			p := newStoreProxy(t, store)
			proxies[i] = p
			return strings.ReplaceAll(s.bucket, store.URL, p.URL)
		}
	})
	s.weather(t, "late creates of one that was killed", map[string]int{"late create": heldMost, "kill": 1}, func(w *storm) {
		log := w.log("a")
		writer := w.writer(log)
		proxies[writer].holdAndWait(w, log)
		w.kill(writer)
		w.fault("kill", 1)
		w.awaitOther(log, writer)
		w.ackedTo(log, stormSome)
		proxies[writer].release(w)
		w.start(writer)
		w.whole()
		w.ackedTo(log, stormSome)
	})
	s.weather(t, "late creates of one that was stopped", map[string]int{"late create": heldMost, "stop": 1}, func(w *storm) {
		log := w.log("a")
		writer := w.writer(log)
		proxies[writer].holdAndWait(w, log)
		w.pause(writer)
		w.awaitOther(log, writer)
		w.ackedTo(log, stormSome)
		proxies[writer].release(w)
		w.resume(writer)
		w.fault("stop", 1)
		w.ackedTo(log, stormSome)
		w.whole()
	})
}

// storeProxy is the way of one node to the store. It can hold creates of
// fragments back, which land when they are released, whatever has become of the
// node meanwhile.
type storeProxy struct {
	*httptest.Server
	store *s3

	mu   sync.Mutex
	left int // how many more creates are held back
	held []*heldCreate
}

// heldCreate is one that is held back.
type heldCreate struct {
	key     string
	request *http.Request
	landed  chan struct{} // closed once there is an answer
	answer  *httptest.ResponseRecorder
}

func newStoreProxy(t *testing.T, store *s3) *storeProxy {
	p := &storeProxy{store: store}
	p.Server = httptest.NewServer(p)
	t.Cleanup(func() {
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

// ServeHTTP implements http.Handler.
func (p *storeProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := p.hold(r)
	if h == nil {
		if r.Method == http.MethodPut {
			late := time.NewTimer(createTakes)
			defer late.Stop()
			<-late.C
		}
		p.store.ServeHTTP(w, r)
		return
	}
	select {
	case <-h.landed:
	case <-r.Context().Done(): // who sent it is gone; the create is not
		return
	}
	w.WriteHeader(h.answer.Code)
	_, _ = w.Write(h.answer.Body.Bytes()) // whoever asked may have left
}

// hold takes a request in that is to be held back; nil: it is not.
func (p *storeProxy) hold(r *http.Request) *heldCreate {
	if r.Method != http.MethodPut || !strings.HasPrefix(r.URL.Path, "/wpd/chains/") {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.held {
		if h.key == r.URL.Path {
			return h // it comes again
		}
	}
	if p.left == 0 {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil // it was cut off
	}
	p.left--
	h := &heldCreate{key: r.URL.Path, request: r.Clone(context.WithoutCancel(r.Context())), landed: make(chan struct{})}
	h.request.Body = io.NopCloser(bytes.NewReader(body))
	p.held = append(p.held, h)
	return h
}

// holdAndWait holds the next creates back, and waits until they are there. It
// goes on appending to a log meanwhile: what the load has sent may be waiting for
// the first of them.
func (p *storeProxy) holdAndWait(w *storm, log string) {
	w.Helper()
	drop := w.drip(log)
	p.mu.Lock()
	p.left = heldMost
	p.mu.Unlock()
	w.await("creates to be held back", func() bool {
		drop()
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.held) == heldMost
	})
}

// release lets the creates land, the last one first. The take-over has put its
// seal where the first would be; those beyond find their places free, and count
// for nothing.
func (p *storeProxy) release(w *storm) {
	w.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.SortFunc(p.held, func(a, b *heldCreate) int { return cmp.Compare(a.key, b.key) })
	for i, h := range slices.Backward(p.held) {
		h.answer = httptest.NewRecorder()
		p.store.ServeHTTP(h.answer, h.request)
		want := http.StatusOK
		if i == 0 {
			want = http.StatusPreconditionFailed
		}
		require.Equal(w, want, h.answer.Code, "create %d of those held back, %s", i, h.key)
		close(h.landed)
	}
	w.fault("late create", len(p.held))
	p.held = nil
}
