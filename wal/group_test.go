package wal_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore"
	"github.com/wpd-io/wpd/blobstore/blobtest"
	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/testcluster"
	"github.com/wpd-io/wpd/testcluster/bubble"
	"github.com/wpd-io/wpd/wal"
	"github.com/wpd-io/wpd/wal/api"
)

// group is several services on one store and one metadata, in a bubble.
type group struct {
	testing.TB
	mem     *blobtest.Mem
	meta    *metadata
	cluster fragment.ClusterID
	boots   map[string]uint64
	out     *output
	wires   *wires

	mu    sync.Mutex
	nodes map[string]*member // those that are alive
	lives []*member          // all of them
}

// member is one life of a node of a group.
type member struct {
	*wal.Service
	g      *group
	name   string
	view   *view
	faults *blobtest.Faults
	line   *line
}

// inGroup runs f in a bubble, with a group of some nodes.
func inGroup(t *testing.T, f func(g *group), names ...string) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		g := &group{
			TB: t, mem: blobtest.NewMem(), meta: &metadata{views: make(map[*view]struct{})}, cluster: fragment.ClusterID{7},
			boots: make(map[string]uint64), nodes: make(map[string]*member), out: &output{},
		}
		g.wires = newWires(g)
		defer g.out.show(t)
		g.meta.must(g, fsm.NewInitCluster(g.cluster, 1))
		for _, name := range names {
			g.start(name, nil)
		}
		f(g)
		for _, m := range g.alive() {
			m.stop()
		}
		for _, m := range g.lives {
			m.faults.Clear() // what is held back, lands
		}
	})
}

// output is what the nodes log, shown if the test fails.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) show(t testing.TB) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if b := o.b.Bytes(); t.Failed() {
		t.Logf("the end of what the nodes say:\n%s", b[max(len(b)-outputMax, 0):])
	}
}

const outputMax = 1 << 20

// identity is what the metadata call a node.
func identity(name string) string { return name + "-1" }

func addr(name string) string { return name + ":7070" }

// register begins a life of a node; start opens it.
func (g *group) register(name string) *member {
	g.Helper()
	g.boots[name]++
	boot := g.boots[name]
	g.meta.must(g, fsm.NewRegisterBoot(fsm.Node{
		Identity: identity(name), Name: name, Boot: boot, Nonce: fragment.Nonce{name[0], byte(boot)}, GRPC: addr(name),
	}))
	m := &member{g: g, name: name, view: g.meta.view(identity(name), boot), faults: blobtest.NewFaults(g.mem)}
	m.line = &line{Raw: m.faults}
	m.line.ctx, m.line.cut = context.WithCancel(context.Background())
	g.lives = append(g.lives, m)
	return m
}

func (g *group) start(name string, change func(*wal.Config)) *member {
	g.Helper()
	m := g.register(name)
	require.NoError(g, m.open(change))
	return m
}

func (m *member) open(change func(*wal.Config)) error {
	c := wal.Config{
		Store: blobstore.New(m.line, blobstore.Options{RequestTimeout: time.Second, BackoffMin: time.Millisecond, BackoffMax: 20 * time.Millisecond}),
		Meta:  m.view, Window: 4, FragmentBytes: 64 << 10, CutFragments: 8, Peers: &end{m.g.wires, m.name},
		ScrubBytesPerSec: -1, // tests count what is read
		Identity:         wal.Identity{Cluster: m.g.cluster, Incarnation: 1, Node: identity(m.name), Boot: m.view.boot, Nonce: fragment.Nonce{m.name[0], byte(m.view.boot)}},
	}
	c.Logger = slog.New(slog.NewTextHandler(m.g.out, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", m.name)
	if change != nil {
		change(&c)
	}
	var err error
	if m.Service, err = wal.Open(m.g.Context(), c); err != nil {
		return err
	}
	m.g.mu.Lock()
	defer m.g.mu.Unlock()
	m.g.nodes[m.name] = m
	return nil
}

func (g *group) alive() []*member {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []*member
	for _, m := range g.nodes {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *member) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	return all
}

// node returns a node that is alive.
func (g *group) node(name string) *member {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.nodes[name]
}

func (m *member) gone() {
	m.g.mu.Lock()
	defer m.g.mu.Unlock()
	if m.g.nodes[m.name] == m {
		delete(m.g.nodes, m.name)
	}
}

// stop closes a node in good order.
func (m *member) stop() {
	m.gone()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(m.g, m.Close(ctx))
	m.g.meta.close(m.view)
	m.line.cut()
}

// crash ends a node without a chance to do anything: what its store holds back
// stays held back.
func (m *member) crash() {
	m.gone()
	m.g.wires.drop(m.name)
	m.line.cut()
	m.view.freeze()
	dead, cancel := context.WithCancel(context.Background())
	cancel()
	_ = m.Close(dead) // it can't do what it wants to
	m.g.meta.close(m.view)
}

// takeOver has another node seal all that a node has open, as if its leases
// had lapsed.
func (g *group) takeOver(from string, by *member) {
	g.Helper()
	state := g.meta.now()
	for c := range state.state.Unsealed() {
		if c.Node == identity(from) {
			g.meta.must(g, fsm.NewBeginSeal(c.Epoch, 0, identity(by.name)))
		}
	}
}

// chains are those of a node that are not sealed.
func (g *group) chains(name string) (open []*fsm.Chain) {
	state := g.meta.now()
	for c := range state.state.Unsealed() {
		if c.Node == identity(name) {
			open = append(open, c)
		}
	}
	return open
}

// owner is the name of the node that writes a log by the metadata; "" if none.
func (g *group) owner(id fragment.LogID) string {
	state := g.meta.now()
	c, ok := state.state.Owner(id)
	if !ok {
		return ""
	}
	n, _ := state.state.Node(c.Node)
	return n.Name
}

// create makes a log.
func (g *group) create(name string, c api.LogConfig) fragment.LogID {
	g.Helper()
	r := g.meta.must(g, fsm.NewCreateLog(name, fsm.LogConfig{EntryBytesMax: 1 << 20, Dedicated: c.Dedicated, Zone: c.Zone}, 1))
	return r.Log.ID
}

// line is what lies between a node and its store.
type line struct {
	blobstore.Raw
	ctx context.Context
	cut context.CancelFunc
}

var errCut = errors.New("the node is cut off from its store")

func (l *line) enter(ctx context.Context) (context.Context, func(error) error) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(l.ctx, cancel)
	return ctx, func(err error) error {
		stop()
		cancel()
		if l.ctx.Err() != nil {
			return errCut
		}
		return err
	}
}

func (l *line) Create(ctx context.Context, key string, parts [][]byte) error {
	if l.ctx.Err() != nil {
		return errCut
	}
	ctx, done := l.enter(ctx)
	return done(l.Raw.Create(ctx, key, parts))
}

func (l *line) ReadRange(ctx context.Context, key string, offset, length int64) ([]byte, int64, error) {
	if l.ctx.Err() != nil {
		return nil, 0, errCut
	}
	ctx, done := l.enter(ctx)
	b, size, err := l.Raw.ReadRange(ctx, key, offset, length)
	return b, size, done(err)
}

func (l *line) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	if l.ctx.Err() != nil {
		return func(yield func(string, error) bool) { yield("", errCut) }
	}
	return l.Raw.List(ctx, prefix, after)
}

// batch makes one of a single entry.
func batch(o api.Opened, seq uint64, word string) fragment.Batch {
	b := fragment.BatchBuilder{Limits: fragment.Limits{EntryBytesMax: fragment.EntryBytesMax}}
	_ = b.Add(nil, []byte(word))
	return b.Finish(fragment.BatchMeta{Producer: o.ID, ProducerEpoch: o.Epoch, FirstSeq: seq, LowestSeq: 1, Generation: o.Generation})
}

// sending is an append under way.
type sending struct {
	g    *group
	done chan struct{}
	ack  api.Ack
	err  error
}

// send appends, and does not wait.
func (m *member) send(id fragment.LogID, b fragment.Batch, ifTail ...fragment.LSN) *sending {
	x := &sending{g: m.g, done: make(chan struct{})}
	r := api.AppendRequest{Log: id, Batch: b}
	if len(ifTail) > 0 {
		r.IfTail = ifTail[0]
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := m.Append(ctx, r, x.settle); err != nil {
			x.settle(api.Ack{}, err)
		}
	}()
	return x
}

func (x *sending) settle(ack api.Ack, err error) {
	x.ack, x.err = ack, err
	close(x.done)
}

// waits checks that there is no answer.
func (x *sending) waits() {
	x.g.Helper()
	synctest.Wait()
	select {
	case <-x.done:
		x.g.Fatalf("answered too early: %+v, %v", x.ack, x.err)
	default:
	}
}

// at checks that it is acknowledged at an LSN.
func (x *sending) at(lsn fragment.LSN) {
	x.g.Helper()
	<-x.done
	require.NoError(x.g, x.err)
	require.Equal(x.g, lsn, x.ack.From)
}

// is checks how it fails.
func (x *sending) is(target error) {
	x.g.Helper()
	<-x.done
	require.ErrorIs(x.g, x.err, target)
}

func failsAs[E error](x *sending) E {
	x.g.Helper()
	<-x.done
	var e E
	require.ErrorAs(x.g, x.err, &e)
	return e
}

// elsewhere checks that an error sends to another node.
func elsewhere(t testing.TB, err error, name string) {
	t.Helper()
	var e *api.ElsewhereError
	require.ErrorAs(t, err, &e)
	require.Equal(t, api.ElsewhereError{Node: identity(name), Addr: addr(name)}, *e)
	require.ErrorIs(t, err, api.ErrMoved)
}

// producer opens a producer at a node.
func (m *member) producer(id fragment.LogID, name string) api.Opened {
	m.g.Helper()
	o, err := m.OpenProducer(m.g.Context(), api.OpenRequest{Log: id, Name: name})
	require.NoError(m.g, err)
	return o
}

// contents reads a log to its tail, where it is written.
func (g *group) contents(id fragment.LogID) []string {
	g.Helper()
	st, err := (&router{g: g}).Read(g.Context(), api.ReadRequest{Log: id, Level: api.Level{Linearizable: true}})
	require.NoError(g, err)
	defer st.Close() //nolint:errcheck // it was only read
	return words(g, st, math.MaxInt, time.Minute)
}

// check reads all logs back, and holds them against the ledger: through the
// nodes, and from the bucket alone.
func (g *group) check(l *testcluster.Ledger, names []string, expect testcluster.Expect) {
	g.Helper()
	client := wpd.NewClient(&router{g: g})
	var all []testcluster.Contents
	for _, name := range names {
		log, err := client.Log(g.Context(), name)
		require.NoError(g, err)
		c, err := testcluster.ReadBack(g.Context(), log, name, l)
		require.NoError(g, err)
		all = append(all, c)
	}
	require.NoError(g, client.Close())
	require.NoError(g, testcluster.Check(l, all, expect).Err())
	for _, m := range g.alive() {
		m.stop()
	}
	all, err := testcluster.ReadBucket(g.Context(), blobstore.New(g.mem, blobstore.Options{}), names, l)
	require.NoError(g, err)
	require.NoError(g, testcluster.Check(l, all, expect).Err(), "from the bucket alone")
}
