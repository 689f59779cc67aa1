package offline_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
)

// TestEveryDamage loses every object of a small bucket in turn, cuts it at many
// places and flips many of its bytes. Each time Verify names that object and no
// other; reading loses just the ranges that Verify says, and at most what the
// object held.
func TestEveryDamage(t *testing.T) {
	healthy := newWorld(t)
	c := healthy.chain(1)
	a, b := healthy.attach(c, 1, "a"), healthy.attach(c, 2, "b")
	for range 3 {
		healthy.fragment(c, 2, a, b)
	}
	require.NoError(t, c.CutNow(t.Context()))
	healthy.append(c, a, 1) // several batches in a slice
	healthy.append(c, a, 2)
	healthy.fragment(c, 1, b, a)
	healthy.seal(c)
	c = healthy.chain(2)
	healthy.attach(c, 1, "a")
	healthy.attach(c, 2, "b")
	healthy.fragment(c, 2, a, b)
	healthy.fragment(c, 2, b)
	healthy.seal(c)
	require.Empty(t, healthy.verify())
	require.True(t, healthy.report().OK())

	step := 17 // no multiple of a field's size
	if testing.Short() {
		step = 41
	}
	for _, key := range healthy.mem.Keys("") {
		t.Run(strings.ReplaceAll(key, "/", "_"), func(t *testing.T) {
			body, _ := healthy.mem.Object(key)
			check := func(name string, do func(w *world)) {
				w := *healthy
				w.t, w.mem = t, healthy.mem.Clone()
				w.useMem()
				do(&w)
				r := w.report()
				var got []string
				for _, p := range r.Problems {
					got = append(got, short(p))
					dir := strings.HasPrefix(key, p.Object) && p.Object == fragment.IndexPrefix(1) // of an index that is missing
					if p.Object != key && !dir {
						t.Errorf("%s: Verify says %v", name, p)
					}
					for lsn := p.From; lsn < p.To; lsn++ {
						require.Equal(t, key, w.logs[p.Log].where[lsn], "%s: LSN %d of log %d", name, lsn, p.Log)
					}
				}
				last := key == fragment.ChainKey(2, 4) || strings.HasPrefix(key, fragment.IndexPrefix(2)) // as if its writer had died before
				if len(got) == 0 && !(name == "lose" && last) {
					t.Errorf("%s: Verify finds nothing", name)
				}
				w.readsAround(got)
			}
			check("lose", func(w *world) { w.mem.Lose(key) })
			for at := 0; at < len(body); at += step {
				check(fmt.Sprintf("cut at %d", at), func(w *world) { w.truncate(key, at) })
				if strings.HasSuffix(key, ".json") || strings.HasPrefix(key, "nodes/") {
					continue // has no checksum
				}
				check(fmt.Sprintf("flip %d", at), func(w *world) { w.flip(key, at) })
			}
		})
	}
}
