//go:build race

package bubble

import (
	"runtime"
	"sync"
)

// open counts the bubbles, those of parallel tests, and knows how many
// processors there were before the first.
var open struct {
	sync.Mutex
	bubbles, processors int
}

func enter() (leave func()) {
	open.Lock()
	defer open.Unlock()
	if open.bubbles++; open.bubbles == 1 {
		open.processors = runtime.GOMAXPROCS(1)
	}
	return func() {
		open.Lock()
		defer open.Unlock()
		if open.bubbles--; open.bubbles == 0 {
			runtime.GOMAXPROCS(open.processors)
		}
	}
}
