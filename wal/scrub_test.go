package wal_test

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// scrubbing makes a node scrub once a minute, as fast as it can, and cut nothing
// by itself.
func scrubbing(c *wal.Config) {
	c.ScrubInterval, c.ScrubBytesPerSec, c.CutAge = time.Minute, 1<<40, 24*time.Hour
}

// reading is one read of the store.
type reading struct {
	key   string
	at    time.Time
	bytes int
}

// readings is a store that notes what is read of it.
type readings struct {
	blobstore.Raw
	mu  sync.Mutex
	all []reading
}

func (r *readings) ReadRange(ctx context.Context, key string, offset, length int64) ([]byte, int64, error) {
	at := time.Now()
	b, size, err := r.Raw.ReadRange(ctx, key, offset, length)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, reading{key, at, len(b)})
	return b, size, err
}

// take returns what was read since it was taken last, of chains and indexes.
func (r *readings) take() []reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	return slices.DeleteFunc(all, func(x reading) bool {
		return !strings.HasPrefix(x.key, "chains/") && !strings.HasPrefix(x.key, "index/")
	})
}

// inScrubbedGroup is inGroup, with what the room of clusters leaves in a bucket.
func inScrubbedGroup(t *testing.T, f func(g *group)) {
	t.Helper()
	inGroup(t, func(g *group) {
		g.mem.Put(fragment.ClusterKey, fmt.Appendf(nil, `{"version": 1, "cluster": %q}`, g.cluster))
		f(g)
	})
}

// startNoted starts a node whose reads are noted.
func (g *group) startNoted(name string, change func(*wal.Config)) (*member, *readings) {
	g.Helper()
	m := g.register(name)
	r := &readings{Raw: m.line.Raw}
	m.line.Raw = r
	require.NoError(g, m.open(change))
	return m, r
}

// wellAt checks that a node has scrubbed, and knows of nothing wrong.
func wellAt(t testing.TB, m *member) {
	t.Helper()
	x := m.Scrub()
	require.NotZero(t, x.Passes)
	require.Zero(t, x.ProblemsTotal, "%v", x.Problems)
	require.Zero(t, x.Skipped)
}

// TestScrubRate: a pass reads everything, one object at a time, and waits after
// each for as long as its bytes, or at least 256 KiB, take.
func TestScrubRate(t *testing.T) {
	const perSec, request = 1 << 20, 256 << 10
	inScrubbedGroup(t, func(g *group) {
		m, r := g.startNoted("a", func(c *wal.Config) {
			scrubbing(c)
			c.ScrubInterval, c.ScrubBytesPerSec, c.FragmentBytes = 5*time.Minute, perSec, 1<<20
		})
		w := m.writer(g.create("x", api.LogConfig{}))
		for i := range 30 {
			w.put(strings.Repeat("x", []int{10, 600 << 10, 300 << 10}[i%3]))
		}
		time.Sleep(4 * time.Minute)
		r.take()
		time.Sleep(5 * time.Minute)
		wellAt(g, m)
		all := r.take()
		there := append(g.mem.Keys("chains/"), g.mem.Keys("index/")...)
		slices.Sort(there)
		var seen []string
		total := 0
		for i, x := range all {
			seen = append(seen, x.key)
			cost := max(x.bytes, request)
			total += cost
			if i+1 < len(all) {
				require.GreaterOrEqual(g, all[i+1].at.Sub(x.at), time.Duration(cost)*time.Second/perSec-time.Microsecond, "%+v, %+v", x, all[i+1])
			}
		}
		slices.Sort(seen)
		require.Equal(g, there, slices.Compact(seen))
		most := time.Duration(total+4*request)*time.Second/perSec + time.Second // listings cost, too
		require.LessOrEqual(g, all[len(all)-1].at.Sub(all[0].at), most)
		require.Greater(g, total, 9<<20, "it was as much as it seems")
	})
}

// TestScrubShares: every object is read by one node alone in each pass; those of
// chains whose writer is gone by somebody; when a node goes, others take its share.
func TestScrubShares(t *testing.T) {
	inScrubbedGroup(t, func(g *group) {
		var w *writer
		id := g.create("x", api.LogConfig{})
		for i := range 12 { // chains of somebody who does not come back
			old := g.start("old", nil)
			if w = old.writer(id); i%2 == 0 {
				w.puts(20)
			}
			old.stop()
		}
		names := []string{"a", "b", "c"}
		reads := make(map[string]*readings)
		for _, name := range names {
			m, r := g.startNoted(name, scrubbing)
			reads[name] = r
			m.writer(g.create("log-"+name, api.LogConfig{})).puts(20)
		}
		shares := func(names []string) map[string]int {
			time.Sleep(2*time.Minute + 30*time.Second) // what was under way is over
			for _, r := range reads {
				r.take()
			}
			time.Sleep(time.Minute)
			by := make(map[string]string)
			count := make(map[string]int)
			for _, name := range names {
				for _, x := range reads[name].take() {
					require.Contains(g, []string{"", name}, by[x.key], x.key)
					if by[x.key] == "" {
						count[name]++
					}
					by[x.key] = name
				}
				wellAt(g, g.node(name))
			}
			for _, key := range g.mem.Keys("chains/") {
				require.NotEmpty(g, by[key], "nobody has read %s", key)
			}
			g.meta.now().state.Chains()(func(c *fsm.Chain) bool {
				if c.State == fsm.ChainSealed {
					require.NotEmpty(g, by[c.Seal.Index.Key], "nobody has read %s", c.Seal.Index.Key)
				}
				return true
			})
			return count
		}
		before := shares(names)
		for _, name := range names {
			require.Greater(g, before[name], 21, "%s reads nothing but its own: %v", name, before)
		}
		g.node("b").crash()
		g.takeOver("b", g.node("a"))
		after := shares([]string{"a", "c"})
		require.Greater(g, after["a"], before["a"])
		require.Greater(g, after["c"], before["c"])
	})
}

// TestScrubIsNoAlarm: what a store or the network does wrong for a while is not
// damage; nor is what cannot be read at all, which is left out after a while.
func TestScrubIsNoAlarm(t *testing.T) {
	for name, c := range map[string]struct {
		fault blobtest.Fault
		skips bool
	}{
		"flipped on the way":     {blobtest.Fault{Flip: 100, Count: 3}, false},
		"cut off on the way":     {blobtest.Fault{Short: 10, Count: 1}, false},
		"not found once":         {blobtest.Fault{Before: fs.ErrNotExist, Count: 1}, false},
		"unavailable for long":   {blobtest.Fault{Before: blobtest.ErrFault, Count: 100}, false},
		"one that no one can":    {blobtest.Fault{Before: blobtest.ErrFault}, true},
		"one that never answers": {blobtest.Fault{Hang: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			inScrubbedGroup(t, func(g *group) {
				m, r := g.startNoted("a", scrubbing)
				m.writer(g.create("x", api.LogConfig{})).puts(30)
				c.fault.Kind, c.fault.Match = blobtest.Read, func(op blobtest.Op) bool { return op.Key == fragment.ChainKey(1, 12) }
				fault := m.faults.Add(c.fault)
				time.Sleep(30 * time.Minute)
				if x := m.Scrub(); c.skips {
					require.EqualValues(g, 1, x.Skipped)
					require.NotZero(g, x.Passes)
				} else {
					require.EqualValues(g, c.fault.Count, fault.Hits())
					wellAt(g, m)
				}
				require.Zero(g, m.Scrub().ProblemsTotal, "%v", m.Scrub().Problems)
				require.NotZero(g, fault.Hits())
				require.Contains(g, fmt.Sprint(r.take()), g.mem.Keys("chains/")[31], "it has not gone on behind it")
				m.faults.Clear()
				time.Sleep(30 * time.Minute)
				wellAt(g, m)
			})
		})
	}
}

// TestScrubEnds: a node that closes does not wait for its scrub, wherever that is.
func TestScrubEnds(t *testing.T) {
	for name, begin := range map[string]func(g *group, m *member){
		"it reads": func(g *group, m *member) {
			fault := m.faults.Add(blobtest.Fault{Kind: blobtest.Read, Prefix: fragment.ClusterKey, Hang: true})
			require.NoError(g, fault.Wait(g.Context(), 1))
		},
		"it lists": func(g *group, m *member) {
			fault := m.faults.Add(blobtest.Fault{Kind: blobtest.List, Hang: true})
			require.NoError(g, fault.Wait(g.Context(), 1))
		},
		"it waits for bytes": func(g *group, _ *member) { time.Sleep(70 * time.Second) },
		"it waits to try again": func(g *group, m *member) {
			fault := m.faults.Add(blobtest.Fault{Kind: blobtest.Read, Prefix: fragment.ClusterKey, Before: blobtest.ErrFault})
			require.NoError(g, fault.Wait(g.Context(), 20))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inScrubbedGroup(t, func(g *group) {
				m := g.start("a", func(c *wal.Config) {
					scrubbing(c)
					c.ScrubBytesPerSec = 10 << 10 // half a minute for each request
				})
				m.writer(g.create("x", api.LogConfig{})).puts(10)
				begin(g, m)
				require.Less(g, m.Scrub().Passes, uint64(1))
				began := time.Now()
				m.stop()
				require.Less(g, time.Since(began), 5*time.Second)
			})
		})
	}
}

// TestScrubForeign: what stands where only wpd's objects may is named, what
// stands elsewhere is nobody's business.
func TestScrubForeign(t *testing.T) {
	inScrubbedGroup(t, func(g *group) {
		m := g.start("a", func(c *wal.Config) {
			scrubbing(c)
			c.Registerer = prometheus.NewRegistry()
		})
		m.writer(g.create("x", api.LogConfig{})).puts(3)
		foreign := []string{
			fragment.ChainPrefix(1) + "README", "chains/README", fragment.ChainPrefix(9),
			fragment.IndexPrefix(1) + "0000000000000001-1", "chains/\ufffd",
		}
		for _, key := range append([]string{"README", "photos/1.jpg"}, foreign...) {
			if strings.HasSuffix(key, "/") {
				key += "0000000000000000"
			}
			key = strings.ReplaceAll(key, "\ufffd", "\xff") // as a file system takes it
			g.mem.Put(key, []byte("hello"))
		}
		time.Sleep(2 * time.Minute)
		var named []string
		for _, p := range m.Scrub().Problems {
			require.EqualValues(g, "foreign", p.Kind)
			named = append(named, p.Object)
		}
		slices.Sort(foreign)
		require.Equal(g, foreign, named)
	})
}

// TestScrubKeepsSome: of more damage than can be shown, a part is named, and all of
// it is counted; with what nobody can read any more, nobody is bothered.
func TestScrubKeepsSome(t *testing.T) {
	const spoilt, kept = 130, 100
	inScrubbedGroup(t, func(g *group) {
		metrics := prometheus.NewRegistry()
		m := g.start("a", func(c *wal.Config) {
			scrubbing(c)
			c.Registerer = metrics
		})
		id := g.create("x", api.LogConfig{})
		w := m.writer(id)
		w.puts(2 * spoilt)
		all := g.mem.Keys(fragment.ChainPrefix(1))
		for i := range spoilt {
			g.mem.Put(all[len(all)-2*spoilt+2*i], []byte("x")) // every other one
		}
		time.Sleep(2*time.Minute + 30*time.Second)
		for range 3 { // and it stays so
			x := m.Scrub()
			require.Len(g, x.Problems, kept)
			require.EqualValues(g, spoilt, x.ProblemsTotal)
			require.EqualValues(g, kept, gathered(g, metrics, "wpd_wal_scrub_problem"))
			require.EqualValues(g, spoilt, gathered(g, metrics, "wpd_wal_scrub_problems"))
			time.Sleep(time.Minute)
		}
		require.NoError(g, m.Trim(g.Context(), id, spoilt+1))
		time.Sleep(2 * time.Minute)
		require.EqualValues(g, spoilt/2, m.Scrub().ProblemsTotal, "the others are trimmed")
		require.NoError(g, m.Delete(g.Context(), id))
		time.Sleep(2 * time.Minute)
		require.Zero(g, m.Scrub().ProblemsTotal, "there is nobody to read them")
		wellAt(g, m)
	})
}

// gathered is the sum of all values of a metric.
func gathered(t testing.TB, r *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	all, err := r.Gather()
	require.NoError(t, err)
	for _, f := range all {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// TestScrubOff: a negative rate reads nothing.
func TestScrubOff(t *testing.T) {
	inScrubbedGroup(t, func(g *group) {
		m, r := g.startNoted("a", func(c *wal.Config) { c.ScrubBytesPerSec = -1 })
		m.writer(g.create("x", api.LogConfig{})).puts(3)
		r.take()
		time.Sleep(72 * time.Hour)
		require.Empty(g, r.take())
		require.True(g, m.Scrub().Off)
	})
}
