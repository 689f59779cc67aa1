package fakes3

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

// Flaw is how an [Unsafe] server gets conditional creates wrong.
type Flaw string

// The flaws.
const (
	// Ignores: If-None-Match is not looked at, every create succeeds. Many
	// servers did, before S3 had it.
	Ignores Flaw = "ignores the condition"
	// Races: the server looks whether there is an object, and writes then,
	// without a lock between. Creates that come one after another are
	// refused as they should be.
	Races Flaw = "looks first, writes then"
)

// Unsafe is a [Server] on which nothing can be fenced. Use [NewUnsafe].
type Unsafe struct {
	*Server
	flaw Flaw

	// Window is how long a server that [Races] lets pass, at most, between its
	// look and its write, while no other create of the same key comes. It
	// must not be changed after the first request.
	Window time.Duration

	mu      sync.Mutex
	looking map[string]*window // by "bucket/key"
	broken  int
}

// window is the time between looks and writes of one key.
type window struct {
	creates int
	closed  chan struct{} // when several have looked
}

// NewUnsafe makes a server without objects that has a flaw.
func NewUnsafe(f Flaw) *Unsafe {
	return &Unsafe{Server: New(), flaw: f, Window: 50 * time.Millisecond, looking: make(map[string]*window)}
}

// Broken counts the conditional creates that were stored over an object that was
// there, or beside another create of the same key.
func (u *Unsafe) Broken() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.broken
}

// ServeHTTP implements [http.Handler].
func (u *Unsafe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut && r.Header.Get("If-None-Match") == "*" {
		name := strings.TrimPrefix(r.URL.Path, "/")
		switch _, there := u.get(name); {
		case u.flaw == Ignores:
			r.Header.Del("If-None-Match")
			if there {
				u.replaced()
			}
		case u.flaw == Races && !there:
			if u.look(name) {
				r.Header.Del("If-None-Match")
			}
		}
	}
	u.Server.ServeHTTP(w, r)
}

// look waits for other creates of the same key, and says whether there are.
func (u *Unsafe) look(name string) (others bool) {
	u.mu.Lock()
	x := u.looking[name]
	if x == nil {
		x = &window{closed: make(chan struct{})}
		u.looking[name] = x
	}
	if x.creates++; x.creates == 2 {
		close(x.closed)
	}
	u.mu.Unlock()
	late := time.NewTimer(u.Window)
	defer late.Stop()
	select {
	case <-x.closed:
	case <-late.C:
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.looking[name] == x {
		delete(u.looking, name)
	}
	if x.creates > 1 {
		u.broken++
	}
	return x.creates > 1
}

// replaced counts a create that is stored over an object.
func (u *Unsafe) replaced() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.broken++
}
