// Package bubble runs tests in the bubbles of testing/synctest.
package bubble

import (
	"testing"
	"testing/synctest"
)

// Test is [synctest.Test], which the race detector does not bear on more than
// one processor: the runtime (1.25 and 1.26 at least) keeps one race context for
// all timers of a bubble, and two goroutines that poll expired ones at once, each
// on its own processor, corrupt it; sooner or later the process dies of a SIGSEGV.
// So under the race detector there is one processor while bubbles are open.
// It finds as many races: it goes by what is ordered, not by what collides.
func Test(t *testing.T, test func(*testing.T)) {
	t.Helper()
	defer enter()()
	synctest.Test(t, test)
}
