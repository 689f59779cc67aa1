package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
)

// town is a bucket, a network, and nodes on them, for a bubble. A node's stores
// stay as they are when it is closed and opened again.
type town struct {
	t      *testing.T
	net    *memNet
	bucket *fakeBucket
	real   bool // not in a bubble: time passes as it does

	mu    sync.Mutex
	nodes map[string]*townNode // by name
	count int
}

type townNode struct {
	w      *town
	name   string
	ip     string
	stores *stores
	config Config
	member *Member // guarded by town.mu; nil while it is not open
}

// newRealTown is for faults that stop a bubble's clock. It needs short times.
func newRealTown(t *testing.T) *town {
	w := newTown(t)
	w.real = true
	return w
}

func newTown(t *testing.T) *town {
	w := &town{t: t, net: newMemNet(), bucket: newBucket(), nodes: map[string]*townNode{}}
	t.Cleanup(w.close)
	return w
}

func (w *town) close() {
	var wg sync.WaitGroup
	for _, n := range w.nodes {
		wg.Go(n.close)
	}
	wg.Wait()
	if w.real {
		w.eventually(func() bool { return !probing() })
		return
	}
	time.Sleep(memberlistEnds)
}

// memberlistEnds is far more than a probe of memberlist's takes, which does not
// end with the list.
const memberlistEnds = 30 * time.Second

// probing tells whether there is such a probe.
func probing() bool {
	var b strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
	return strings.Contains(b.String(), "memberlist.(*Memberlist).probe")
}

// logger logs what is a warning, or everything if WPD_TEST_LOG is set.
func (w *town) logger(name string) *slog.Logger {
	if os.Getenv("WPD_TEST_LOG") == "" {
		return discard()
	}
	h := slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug - 4})
	return slog.New(h).With("node", name)
}

// node makes a node that is not open yet. All join the first one.
func (w *town) node(name string, change ...func(*Config)) *townNode {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count++
	n := &townNode{w: w, name: name, ip: fmt.Sprintf("10.0.0.%d", w.count), stores: memoryStores()}
	key := name
	if w.nodes[key] != nil {
		key = fmt.Sprintf("%s#%d", name, w.count)
	}
	w.nodes[key] = n
	n.config = Config{
		Name: name, Bucket: w.bucket, BucketURL: "fake://bucket", Logger: w.logger(name),
		Listen: n.ip + ":7071", GossipListen: n.ip + ":7072", Join: []string{"10.0.0.1:7072"},
		Network: w.net.host(n.ip), Peers: &townPeers{n: n}, Info: fsm.Node{GRPC: n.ip + ":7070", Zone: "z"},
		Autopilot: Autopilot{Stable: 2 * time.Second, Interval: time.Second},
		Serve:     n.serve,
		wrap:      func(s *stores) { *s = *n.stores },
	}
	for _, f := range change {
		f(&n.config)
	}
	return n
}

func expect(n int) func(*Config) { return func(c *Config) { c.Expect = n } }
func bootstrap(c *Config)        { c.Bootstrap = true }

// start opens a node. Others can ask it before that is over.
func (n *townNode) start(ctx context.Context) error {
	m, err := Open(ctx, n.config)
	n.serve(m)
	return err
}

func (n *townNode) serve(m *Member) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.member = m
}

func (n *townNode) m() *Member {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.member
}

func (n *townNode) close() {
	n.w.mu.Lock()
	m := n.member
	n.member = nil
	n.w.mu.Unlock()
	if m != nil {
		require.NoError(n.w.t, m.Close())
	}
}

// isolate cuts a node off from all others, or joins it again.
func (n *townNode) isolate(off bool) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	for _, o := range n.w.nodes {
		if o != n {
			n.w.net.cut(n.ip, o.ip, off)
		}
	}
}

// wipe empties a node's data directory. It is closed.
func (n *townNode) wipe() { n.stores = memoryStores() }

// startAll opens nodes at the same time, and demands that all are members in
// a minute.
func (w *town) startAll(nodes ...*townNode) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { errs[i] = n.start(ctx) })
	}
	wg.Wait()
	for i, err := range errs {
		require.NoErrorf(w.t, err, "node %s", nodes[i].name)
	}
}

// form opens n nodes that expect each other.
func (w *town) form(n int, change ...func(*Config)) []*townNode {
	w.t.Helper()
	var nodes []*townNode
	for i := range n {
		nodes = append(nodes, w.node(fmt.Sprintf("n%d", i+1), append([]func(*Config){expect(n)}, change...)...))
	}
	w.startAll(nodes...)
	return nodes
}

// leader waits for a member that leads and can confirm it.
func (w *town) leader(nodes ...*townNode) *townNode {
	w.t.Helper()
	var leader *townNode
	w.eventually(func() bool {
		for _, n := range nodes {
			if m := n.m(); m != nil && m.Leads() {
				if _, err := m.confirmHere(w.t.Context()); err == nil {
					leader = n
					return true
				}
			}
		}
		return false
	})
	return leader
}

// eventually waits for up to five minutes, of a bubble's unless the town is real.
func (w *town) eventually(f func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !f(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatal("it does not come")
		}
	}
}

// roles returns what a member says that each other one is, by name.
func roles(m *Member) map[string]Role {
	out := make(map[string]Role)
	for _, i := range m.Members() {
		out[i.Name] = i.Role
	}
	return out
}

func voters(names ...string) map[string]Role {
	out := make(map[string]Role)
	for _, n := range names {
		out[n] = RoleVoter
	}
	return out
}

// townPeers calls the other members' methods.
type townPeers struct{ n *townNode }

func (p *townPeers) at(addr string) (*Member, error) {
	p.n.w.mu.Lock()
	defer p.n.w.mu.Unlock()
	for _, o := range p.n.w.nodes {
		if o.config.Info.GRPC != addr {
			continue
		}
		if o.member == nil || p.n.w.net.isCut(p.n.ip, o.ip) {
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, errUnplugged)
		}
		return o.member, nil
	}
	return nil, fmt.Errorf("%w: no such address %s", ErrUnreachable, addr)
}

func (p *townPeers) Propose(ctx context.Context, addr string, command []byte) (uint64, error) {
	m, err := p.at(addr)
	if err != nil {
		return 0, err
	}
	return m.ServePropose(ctx, command)
}

func (p *townPeers) Confirm(ctx context.Context, addr string) (uint64, error) {
	m, err := p.at(addr)
	if err != nil {
		return 0, err
	}
	return m.ServeConfirm(ctx)
}

func (p *townPeers) Renew(ctx context.Context, addr string, r Renewal) (Renewed, error) {
	m, err := p.at(addr)
	if err != nil {
		return Renewed{}, err
	}
	return m.ServeRenew(ctx, r)
}

func (p *townPeers) Place(ctx context.Context, addr string, log fragment.LogID) (string, error) {
	m, err := p.at(addr)
	if err != nil {
		return "", err
	}
	return m.ServePlace(ctx, log)
}

func (p *townPeers) Join(ctx context.Context, addr string, r JoinRequest) (Joined, error) {
	m, err := p.at(addr)
	if err != nil {
		return Joined{}, err
	}
	return m.ServeJoin(ctx, r)
}

// proposeAt creates a log through a member, and demands that it works.
func proposeAt(t *testing.T, n *townNode, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := n.m().Propose(ctx, fsm.NewCreateLog(name, fsm.LogConfig{EntryBytesMax: 1 << 20}, 7))
	require.NoError(t, err)
}

// freezer makes writes to the raft log wait while it is frozen.
type freezer struct {
	raft.LogStore
	mu     sync.Mutex
	frozen chan struct{} // closed by thaw; nil while not frozen
	hit    int
}

func (f *freezer) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = make(chan struct{})
}

func (f *freezer) thaw() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.frozen != nil {
		close(f.frozen)
		f.frozen = nil
	}
}

func (f *freezer) StoreLogs(ls []*raft.Log) error {
	f.mu.Lock()
	frozen := f.frozen
	if frozen != nil {
		f.hit++
	}
	f.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
	return f.LogStore.StoreLogs(ls)
}

func (f *freezer) StoreLog(l *raft.Log) error { return f.StoreLogs([]*raft.Log{l}) }

func (f *freezer) hits() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hit
}
