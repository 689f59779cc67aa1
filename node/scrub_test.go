package node_test

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal"
)

// TestScrub spoils every kind of object in every way. Each time the scrub names
// just what was spoilt, in its status, in the metrics and in the log; reading
// tells that the entries of these objects are lost, and no others; appends go on.
// When they are well again, nothing is named any more.
func TestScrub(t *testing.T) {
	// Together, as none of a group tells what another held.
	groups := []func(s *scrubbed) []string{
		func(s *scrubbed) []string { // openings, fragments of a sealed and of an open chain, in a cut and in none, a seal
			return []string{fragment.ClusterKey, fragment.ChainKey(1, 0), fragment.ChainKey(1, 5), fragment.ChainKey(2, 3), s.last(2, 0), s.last(1, 0)}
		},
		func(s *scrubbed) []string { return []string{s.last(1, 1)} }, // the last fragment of a chain
		func(s *scrubbed) []string { // indexes of merged cuts, of a seal, and of a cut
			sealed := indexes(s.mem, 1, 0)
			return []string{indexes(s.mem, 1, 16)[0], sealed[len(sealed)-1], indexes(s.mem, 2, 8)[0]}
		},
	}
	inScrubbed(t, func(s *scrubbed) {
		for _, group := range groups {
			for name, spoil := range spoils {
				s.append(1)
				s.said.take()
				well := s.mem.Clone()
				for _, key := range group(s) {
					spoil(s, key)
				}
				s.judge(name, well)
				for _, key := range well.Keys("") {
					body, _ := well.Object(key)
					s.mem.Put(key, body)
				}
				time.Sleep(scrubTwice)
				require.Empty(s, s.scrub().GetProblems(), "%s, and well again", name)
				require.Zero(s, s.scrub().GetProblemsTotal(), name)
				require.Empty(s, s.metric(), name)
			}
		}
	})
}

// spoils are what a store may do to an object.
var spoils = map[string]func(s *scrubbed, key string){
	"flipped": func(s *scrubbed, key string) {
		body, _ := s.mem.Object(key)
		body[middle(body)] ^= 0x10
		s.mem.Put(key, body)
	},
	"truncated": func(s *scrubbed, key string) {
		body, _ := s.mem.Object(key)
		s.mem.Put(key, body[:middle(body)])
	},
	"emptied": func(s *scrubbed, key string) { s.mem.Put(key, nil) },
	"deleted": func(s *scrubbed, key string) { require.True(s, s.mem.Lose(key)) },
	"swapped": func(s *scrubbed, key string) {
		other := s.like(key)
		if other == "" {
			return // there is but one
		}
		a, _ := s.mem.Object(key)
		b, ok := s.mem.Object(other)
		require.True(s, ok, other)
		s.mem.Put(key, b)
		s.mem.Put(other, a)
	},
	"foreign": func(s *scrubbed, key string) {
		dir := key[:strings.LastIndex(key, "/")+1]
		keys := s.foreign.Keys(dir)
		if slices.Contains(keys, key) {
			keys = []string{key}
		}
		body, ok := s.foreign.Object(keys[0])
		require.True(s, ok)
		s.mem.Put(key, body)
	},
}

// middle is a place in an object: in its entries, if it has any.
func middle(body []byte) int {
	if f, err := fragment.Decode(body); err == nil && len(f.Directory.Slices) > 0 {
		x := f.Directory.Slices[0]
		return int(x.Offset + x.Length/2)
	}
	return len(body) / 2
}

// scrubTwice is so long that a whole pass lies in it.
const scrubTwice = 25 * time.Second

// scrubbed is a node on a bucket with a sealed chain, 1, and an open one, 2.
type scrubbed struct {
	testing.TB
	w       *testcluster.World
	mem     *blobtest.Mem
	p       *testcluster.Proc
	writer  *wpd.Writer
	said    *lines
	metrics *prometheus.Registry
	foreign *blobtest.Mem // another cluster, which has done the same
}

func inScrubbed(t *testing.T, f func(s *scrubbed)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		other := newScrubbed(t)
		stop(t, other.p)
		s := newScrubbed(t)
		s.foreign = other.mem
		time.Sleep(scrubTwice)
		x := s.scrub()
		require.NotZero(t, x.GetPasses())
		require.Zero(t, x.GetProblemsTotal(), "%v", x.GetProblems())
		require.EqualValues(t, s.count(1)+s.count(2), x.GetObjectsOf())
		require.GreaterOrEqual(t, x.GetObjects(), x.GetObjectsOf(), "and the indexes")
		f(s)
		stop(t, s.p)
	})
}

func newScrubbed(t *testing.T) *scrubbed {
	s := &scrubbed{TB: t, said: &lines{}, metrics: prometheus.NewRegistry()}
	s.mem = blobtest.NewMem()
	s.w = worldOn(t, s.mem)
	s.w.Config.Logger = slog.New(slog.NewTextHandler(s.said, nil))
	s.w.Config.Log = wal.Config{
		Window: 4, FragmentBytes: 64 << 10, CutFragments: 1, CutAge: 24 * time.Hour, CacheBytes: -1,
		ScrubInterval: 10 * time.Second, ScrubBytesPerSec: 1 << 40,
	}
	s.open()
	s.append(40) // two merged cuts, and some that are not
	require.NoError(t, s.writer.Close())
	stop(t, s.p)
	s.w.Config.Log.CutFragments, s.w.Config.Registerer = 8, s.metrics
	s.open()
	s.append(12)
	return s
}

func (s *scrubbed) open() {
	s.Helper()
	s.p = start(s, s.w)
	var err error
	s.writer, err = create(s, s.p, "a").Writer(s.Context(), wpd.ProducerID("p"))
	require.NoError(s, err)
}

// append appends entries, each in a fragment of its own, and gives cuts time.
func (s *scrubbed) append(n int) {
	s.Helper()
	for range n {
		_, err := s.writer.Append(s.Context(), []byte("entry"))
		require.NoError(s, err)
		time.Sleep(2 * time.Second)
	}
}

func (s *scrubbed) count(e fragment.Epoch) int { return len(s.mem.Keys(fragment.ChainPrefix(e))) }

// last is the key of the last object of a chain, but for some.
func (s *scrubbed) last(e fragment.Epoch, before int) string {
	return fragment.ChainKey(e, uint64(s.count(e)-1-before))
}

// indexes are the keys of the indexes of a chain that are about so many objects
// at least.
func indexes(mem *blobtest.Mem, e fragment.Epoch, least uint64) (keys []string) {
	for _, key := range mem.Keys(fragment.IndexPrefix(e)) {
		var from, to uint64
		_, err := fmt.Sscanf(strings.TrimPrefix(key, fragment.IndexPrefix(e)), "%x-%x-", &from, &to)
		if err == nil && to-from >= least {
			keys = append(keys, key)
		}
	}
	return keys
}

// like is an object of the same kind as another, or at least near it.
func (s *scrubbed) like(key string) string {
	switch e, n, err := fragment.ParseChainKey(key); {
	case key == fragment.ClusterKey:
		return ""
	case err != nil && key == indexes(s.mem, 1, 16)[0]:
		return indexes(s.mem, 1, 16)[1]
	case err != nil:
		return indexes(s.mem, 1, 16)[0]
	case n == 0:
		return fragment.ChainKey(3-e, 0)
	default:
		return fragment.ChainKey(e, n-1)
	}
}

// changed are the keys of the objects that are not as they were.
func (s *scrubbed) changed(was *blobtest.Mem) (keys []string) {
	for _, key := range was.Keys("") {
		before, _ := was.Object(key)
		if now, ok := s.mem.Object(key); !ok || string(now) != string(before) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (s *scrubbed) scrub() *adminv1.Scrub {
	s.Helper()
	st, err := s.p.Node.Status(s.Context())
	require.NoError(s, err)
	return st.GetScrub()
}

// metric are the objects that the metrics name.
func (s *scrubbed) metric() (objects []string) {
	s.Helper()
	all, err := s.metrics.Gather()
	require.NoError(s, err)
	for _, f := range all {
		if f.GetName() == "wpd_wal_scrub_problem" {
			for _, m := range f.GetMetric() {
				objects = append(objects, m.GetLabel()[1].GetValue())
			}
		}
	}
	return objects
}

// judge checks that what was changed, and nothing else, is named everywhere.
func (s *scrubbed) judge(what string, well *blobtest.Mem) {
	s.Helper()
	spoilt := s.changed(well)
	require.NotEmpty(s, spoilt, "%s: nothing was spoilt", what)
	hit := make(map[wpd.LSN]bool) // what was in it
	for _, key := range spoilt {
		body, _ := well.Object(key)
		if f, err := fragment.Decode(body); err == nil {
			for _, x := range f.Directory.Slices {
				for lsn := x.First; lsn < x.End(); lsn++ {
					hit[wpd.LSN(lsn)] = true
				}
			}
		}
	}
	time.Sleep(scrubTwice)
	x := s.scrub()
	named := make(map[string]bool)
	for _, p := range x.GetProblems() {
		named[p.GetObject()] = true
		for lsn := p.GetFrom(); lsn < p.GetTo(); lsn++ {
			require.True(s, hit[wpd.LSN(lsn)], "%s: LSN %d was not in %s", what, lsn, p.GetObject())
			require.Equal(s, "a", p.GetLog())
		}
	}
	require.Equal(s, spoilt, slices.Sorted(maps.Keys(named)), what)
	require.EqualValues(s, len(x.GetProblems()), x.GetProblemsTotal())
	require.ElementsMatch(s, spoilt, s.metric(), what)
	said := s.said.take()
	for _, key := range spoilt {
		require.Regexp(s, "level=ERROR msg=\"scrub: .* object="+key+" ", said, what)
	}
	require.Equal(s, hit, s.lost(), what)
	_, err := s.writer.Append(s.Context(), []byte("goes on"))
	require.NoError(s, err, what)
}

// lost reads the log, and returns the LSNs that reading says are lost. All others
// must be there.
func (s *scrubbed) lost() map[wpd.LSN]bool {
	s.Helper()
	log, err := s.p.Client().Log(s.Context(), "a")
	require.NoError(s, err)
	tail, err := log.Tail(s.Context())
	require.NoError(s, err)
	lost, next := make(map[wpd.LSN]bool), wpd.LSN(1)
	for e, err := range log.Read(s.Context(), wpd.Earliest, wpd.To(tail)) {
		if loss, ok := errors.AsType[*wpd.DataLossError](err); ok {
			require.Equal(s, next, loss.From)
			for ; next < loss.To; next++ {
				lost[next] = true
			}
			continue
		}
		require.NoError(s, err)
		require.Equal(s, next, e.LSN)
		next++
	}
	require.Equal(s, tail, next)
	return lost
}

// lines is what a node logs.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns what was logged since it was taken last.
func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}
