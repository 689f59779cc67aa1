package cluster

import (
	"context"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/testcluster/bubble"
)

// Three new nodes find each other, make a cluster of which all are voters, and
// work together.
func TestForm(t *testing.T) {
	for _, n := range []int{2, 3, 5} {
		bubble.Test(t, func(t *testing.T) {
			w := newTown(t)
			nodes := w.form(n)
			for i, node := range nodes {
				require.Equal(t, nodes[0].m().ClusterID(), node.m().ClusterID())
				require.Equal(t, uint64(1), node.m().Boot())
				require.Len(t, roles(node.m()), n)
				proposeAt(t, node, string(rune('a'+i)))
			}
			leader := w.leader(nodes...)
			for _, node := range nodes {
				require.NoError(t, node.m().Confirm(t.Context()))
				require.Len(t, logNames(node.m()), n)
				require.Equal(t, leader.m().Identity(), node.m().Leader())
				require.Equal(t, node == leader, node.m().Leads())
				for _, role := range roles(node.m()) {
					require.Equal(t, RoleVoter, role)
				}
				node.m().View(func(s *fsm.State) {
					require.NoError(t, s.Check())
					for _, o := range nodes {
						x, ok := s.NodeByName(o.name)
						require.True(t, ok)
						require.Equal(t, o.ip+":7070", x.GRPC)
						require.Equal(t, o.ip+":7071", x.Raft)
						require.Equal(t, o.ip+":7072", x.Gossip)
						require.Equal(t, "z", x.Zone)
						require.Equal(t, uint64(fsm.FeatureLevel), x.Feature)
					}
				})
			}
			there, err := readClusterObject(t.Context(), w.bucket)
			require.NoError(t, err)
			require.Len(t, there.Founders, n)
		})
	}
}

// nodeBucket is the bucket as one node sees it.
type nodeBucket struct {
	*fakeBucket
	mu   sync.Mutex
	hook func(n int, late bool) error // called around the node's nth request
	n    int
}

// fail sets the hook.
func (b *nodeBucket) fail(hook func(n int, late bool) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hook = hook
}

func (b *nodeBucket) requests() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n
}

func (b *nodeBucket) around(f func() error) error {
	b.mu.Lock()
	b.n++
	n, hook := b.n, b.hook
	b.mu.Unlock()
	if hook == nil {
		return f()
	}
	if err := hook(n, false); err != nil {
		return err
	}
	err := f()
	if late := hook(n, true); late != nil {
		return late
	}
	return err
}

func (b *nodeBucket) Create(ctx context.Context, key string, parts ...[]byte) error {
	return b.around(func() error { return b.fakeBucket.Create(ctx, key, parts...) })
}

func (b *nodeBucket) ReadRange(ctx context.Context, key string, offset, length int64) (data []byte, size int64, err error) {
	err = b.around(func() (err error) {
		data, size, err = b.fakeBucket.ReadRange(ctx, key, offset, length)
		return err
	})
	return data, size, err
}

// crashingStores lets a node's nth write to raft's store fail, before or after
// it took effect, and all writes behind it.
type crashingStores struct {
	raft.LogStore
	raft.StableStore
	at   int
	late bool

	mu sync.Mutex
	n  int
}

func (s *crashingStores) write(f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	if s.n > s.at || s.n == s.at && !s.late {
		return errStore
	}
	if err := f(); err != nil || s.n < s.at {
		return err
	}
	return errStore
}

// heal returns whether it crashed. If not, it never will.
func (s *crashingStores) heal() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	crashed := s.n >= s.at
	if !crashed {
		s.at = math.MaxInt
	}
	return crashed
}

func (s *crashingStores) StoreLog(l *raft.Log) error {
	return s.write(func() error { return s.LogStore.StoreLog(l) })
}

func (s *crashingStores) StoreLogs(ls []*raft.Log) error {
	return s.write(func() error { return s.LogStore.StoreLogs(ls) })
}

func (s *crashingStores) Set(k, v []byte) error {
	return s.write(func() error { return s.StableStore.Set(k, v) })
}

func (s *crashingStores) SetUint64(k []byte, v uint64) error {
	return s.write(func() error { return s.StableStore.SetUint64(k, v) })
}

// formedWhole demands that the nodes are one cluster of voters that works.
func formedWhole(t *testing.T, w *town, nodes []*townNode) {
	t.Helper()
	w.leader(nodes...)
	for _, n := range nodes {
		require.Equal(t, nodes[0].m().ClusterID(), n.m().ClusterID())
		require.Equal(t, voters("n1", "n2", "n3"), roles(n.m()))
		proposeAt(t, n, "of-"+n.name)
	}
	there, err := readCluster(t.Context(), w.bucket)
	require.NoError(t, err)
	require.Equal(t, there, nodes[0].m().ClusterID())
	require.Len(t, w.bucket.keys(fragment.ClusterKey), 1)
}

// Each request to the bucket that a node makes while the cluster is formed
// fails in turn, before it took effect and after, as if the node had crashed
// there; it is started again, and the cluster comes to be. n1, whose identity is
// the lowest, makes it; n2 follows.
func TestFormCrashAtRequest(t *testing.T) {
	for _, victim := range []string{"n1", "n2"} {
		for _, late := range []bool{false, true} {
			at := 1
			for done := false; !done; at++ {
				bubble.Test(t, func(t *testing.T) {
					done = formCrash(t, victim, func(n *townNode) func() bool {
						b := &nodeBucket{fakeBucket: n.w.bucket}
						crashed := false
						b.fail(func(i int, after bool) error {
							if i == at && after == late {
								crashed = true
								return errStore
							}
							return nil
						})
						n.config.Bucket = b
						return func() bool {
							b.fail(nil)
							return crashed
						}
					})
				})
			}
			require.Greater(t, at, 6, "requests of a start")
		}
	}
}

// The same for each write to raft's store.
func TestFormCrashAtWrite(t *testing.T) {
	for _, victim := range []string{"n1", "n2"} {
		for _, late := range []bool{false, true} {
			at := 1
			for done := false; !done; at++ {
				bubble.Test(t, func(t *testing.T) {
					done = formCrash(t, victim, func(n *townNode) func() bool {
						s := &crashingStores{LogStore: n.stores.logs, StableStore: n.stores.stable, at: at, late: late}
						wrap := n.config.wrap
						n.config.wrap = func(x *stores) {
							wrap(x)
							x.logs, x.stable = s, s
						}
						return func() bool {
							n.config.wrap = wrap
							return s.heal()
						}
					})
				})
			}
			require.Greater(t, at, 8, "writes of a start")
		}
	}
}

// formCrash forms a cluster of three, of which one crashes by a fault once, and
// returns true if the fault did not come in time.
func formCrash(t *testing.T, victim string, fault func(*townNode) (heal func() (hit bool))) (done bool) {
	w := newTown(t)
	nodes := []*townNode{w.node("n1", expect(3)), w.node("n2", expect(3)), w.node("n3", expect(3))}
	crashes := w.nodes[victim]
	heal := fault(crashes)
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for i, n := range nodes {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			errs[i] = n.start(ctx)
			if n != crashes {
				return
			}
			if m := n.m(); m != nil {
				// Those that come after Open.
				select {
				case <-m.Failed():
					n.close()
					errs[i] = errStore
				case <-time.After(10 * time.Second):
				}
			}
			hit := heal()
			done = !hit
			if errs[i] != nil && hit {
				errs[i] = n.start(ctx)
			}
		})
	}
	wg.Wait()
	for i, err := range errs {
		require.NoError(t, err, nodes[i].name)
	}
	formedWhole(t, w, nodes)
	return done
}
