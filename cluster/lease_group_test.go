package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

// crew is some members in one bubble, whose raft and whose calls to each other
// go over a net that does what the test says.
type crew struct {
	t       *testing.T
	net     *ether
	applied func(x *mate, s *fsm.State) // nil, or called after each batch, by many goroutines
	nodes   []*mate
	cluster fragment.ClusterID
}

// mate is one of them, across its restarts.
type mate struct {
	*Member
	g        *crew
	identity string
	stores   *stores
	first    raft.Configuration
	boot     uint64
	ahead    atomic.Int64 // how far its wall clock is ahead of the bubble's
	down     bool
}

// newCrew starts n members, all of them voters, and registers them.
func newCrew(t *testing.T, n int) *crew {
	t.Helper()
	return tappedCrew(t, n, nil)
}

func tappedCrew(t *testing.T, n int, applied func(*mate, *fsm.State)) *crew {
	t.Helper()
	g := &crew{t: t, net: newEther(), cluster: fragment.ClusterID{1}, applied: applied}
	var first raft.Configuration
	for i := range n {
		x := &mate{g: g, identity: fmt.Sprintf("n%d-%d", i, i), stores: memoryStores()}
		first.Servers = append(first.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(x.identity), Address: raft.ServerAddress(x.identity)})
		g.nodes = append(g.nodes, x)
	}
	for _, x := range g.nodes {
		x.first = first
		x.start()
	}
	t.Cleanup(func() {
		for _, x := range g.nodes {
			if !x.down {
				require.NoError(t, x.Close())
			}
		}
		g.net.calls.Wait()
	})
	_, err := g.nodes[0].Propose(t.Context(), fsm.NewInitCluster(g.cluster, fsm.FeatureLevel))
	require.NoError(t, err)
	for _, x := range g.nodes {
		x.register()
	}
	return g
}

// start begins the node's next boot.
func (x *mate) start() {
	t := x.g.t
	c, err := Config{
		Bucket: newBucket(), Listen: "fake", GossipListen: "fake", Logger: slog.New(slog.DiscardHandler),
		Peers: &fakePeers{net: x.g.net, from: x.identity},
		wall:  func() time.Time { return time.Now().Add(time.Duration(x.ahead.Load())) },
	}.validate()
	require.NoError(t, err)
	m := newMember(c)
	m.gossiped = func(identity string) string { return "grpc-" + identity }
	x.Member, x.down = m, false
	x.boot++
	m.stores = x.stores
	m.me = self{Identity: x.identity, Name: x.identity[:2], cluster: x.g.cluster}
	m.boot.Number, m.boot.nonce = x.boot, fragment.Nonce{byte(x.boot)}
	_, inmem := raft.NewInmemTransportWithTimeout(raft.ServerAddress(x.identity), 500*time.Millisecond)
	m.transport = &etherLink{InmemTransport: inmem, net: x.g.net, from: x.identity}
	conf := m.raftConfig()
	if x.boot == 1 {
		require.NoError(t, raft.BootstrapCluster(conf, x.stores.logs, x.stores.stable, x.stores.snaps, m.transport, x.first))
	}
	x.g.net.join(x.identity, m, inmem)
	m.raft, err = raft.NewRaft(conf, &tapped{m.machine, x}, x.stores.logs, x.stores.stable, x.stores.snaps, m.answers.watch(m.transport))
	require.NoError(t, err)
	close(m.ready)
	m.startLeases()
}

// tapped is a machine that tells the crew what it applies.
type tapped struct {
	*machine
	x *mate
}

func (p *tapped) ApplyBatch(logs []*raft.Log) []any {
	out := p.machine.ApplyBatch(logs)
	if f := p.x.g.applied; f != nil {
		p.machine.view(func(s *fsm.State) { f(p.x, s) })
	}
	return out
}

// register makes the boot known to the metadata.
func (x *mate) register() {
	ctx, cancel := context.WithTimeout(x.g.t.Context(), time.Minute)
	defer cancel()
	err := ErrUncertain
	for errors.Is(err, ErrUncertain) { // the same boot again is no change
		_, err = x.Propose(ctx, x.bootCommand(x.Member, x.boot))
	}
	require.NoError(x.g.t, err)
}

func (x *mate) bootCommand(m *Member, boot uint64) *fsmpb.Command {
	return fsm.NewRegisterBoot(fsm.Node{
		Identity: x.identity, Name: x.identity[:2], Boot: boot, Nonce: m.boot.nonce, GRPC: "grpc-" + x.identity, Feature: fsm.FeatureLevel,
	})
}

// crash ends the node: nobody hears of it any more.
func (x *mate) crash() {
	x.g.net.isolate(x.identity, true)
	x.down = true
	require.NoError(x.g.t, x.Close())
	x.g.net.isolate(x.identity, false)
	x.g.net.leave(x.identity)
}

// leader waits until a live member has been confirmed to lead and returns it.
func (g *crew) leader() *mate {
	g.t.Helper()
	var leader *mate
	g.await(time.Minute, func() bool {
		for _, x := range g.nodes {
			if !x.down && x.leads() {
				ctx, cancel := context.WithTimeout(g.t.Context(), time.Second)
				_, err := x.confirmHere(ctx)
				cancel()
				if leader = x; err == nil {
					return true
				}
			}
		}
		return false
	})
	return leader
}

// others returns the live members but one.
func (g *crew) others(x *mate) (others []*mate) {
	for _, y := range g.nodes {
		if y != x && !y.down {
			others = append(others, y)
		}
	}
	return others
}

// await waits for a condition, in fake time.
func (g *crew) await(most time.Duration, there func() bool) {
	g.t.Helper()
	for begin := time.Now(); !there(); {
		require.Less(g.t, time.Since(begin), most, "the condition never came")
		time.Sleep(5 * time.Millisecond)
		synctest.Wait()
	}
}

func (x *mate) chain(e fragment.Epoch) (c fsm.Chain) {
	x.View(func(s *fsm.State) {
		if there, ok := s.Chain(e); ok {
			c = *there
		}
	})
	return c
}

func (x *mate) grant() fragment.Epoch {
	x.g.t.Helper()
	e, err := x.Grant(x.g.t.Context(), 8, 0)
	require.NoError(x.g.t, err)
	return e
}

// ether carries raft's calls and ours from member to member.
type ether struct {
	mu      sync.Mutex
	members map[string]*Member
	raft    map[string]*raft.InmemTransport
	faults  map[etherWay]etherFault
	counts  map[string]int // of what was lost, by kind
	calls   sync.WaitGroup
}

// etherWay is from one member to another, for "raft" or for "peer" calls.
type etherWay struct{ from, to, kind string }

type etherFault struct {
	lost  bool
	delay time.Duration
}

var errLost = errors.New("lost on the way")

func newEther() *ether {
	return &ether{members: map[string]*Member{}, raft: map[string]*raft.InmemTransport{}, faults: map[etherWay]etherFault{}, counts: map[string]int{}}
}

func (n *ether) join(identity string, m *Member, t *raft.InmemTransport) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.members[identity] = m
	for id, other := range n.raft {
		if id != identity {
			t.Connect(raft.ServerAddress(id), other)
			other.Connect(raft.ServerAddress(identity), t)
		}
	}
	n.raft[identity] = t
}

func (n *ether) leave(identity string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.members, identity)
	delete(n.raft, identity)
	for _, other := range n.raft {
		other.Disconnect(raft.ServerAddress(identity))
	}
}

// set makes a fault on the way from one member to another, of both kinds.
func (n *ether) set(from, to string, f etherFault) {
	n.setKind(from, to, "raft", f)
	n.setKind(from, to, "peer", f)
}

func (n *ether) setKind(from, to, kind string, f etherFault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults[etherWay{from, to, kind}] = f
}

// isolate cuts a member off from all others, or ends that.
func (n *ether) isolate(identity string, cut bool) {
	n.mu.Lock()
	ids := make([]string, 0, len(n.members))
	for id := range n.members {
		ids = append(ids, id)
	}
	n.mu.Unlock()
	for _, id := range ids {
		if id != identity {
			n.set(identity, id, etherFault{lost: cut})
			n.set(id, identity, etherFault{lost: cut})
		}
	}
}

// member returns who runs under an identity now, nil if nobody does.
func (n *ether) member(identity string) *Member {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.members[identity]
}

func (n *ether) count(kind string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.counts[kind]
}

// pass takes a message along a way, or loses it.
func (n *ether) pass(w etherWay) error {
	n.mu.Lock()
	f := n.faults[w]
	if f.lost {
		n.counts[w.kind]++
	}
	n.mu.Unlock()
	time.Sleep(max(f.delay, time.Millisecond))
	if f.lost {
		return errLost
	}
	return nil
}

// call takes a call there and its answer back. What is lost is never heard of:
// the call ends with ctx.
func (n *ether) call(ctx context.Context, from, addr string, f func(*Member) error) error {
	to := addr[len("grpc-"):]
	done := make(chan error, 1)
	n.calls.Go(func() {
		if n.pass(etherWay{from, to, "peer"}) != nil {
			return
		}
		m := n.member(to)
		if m == nil {
			done <- fmt.Errorf("%w: %s is down", ErrUnreachable, to)
			return
		}
		err := f(m)
		if n.pass(etherWay{to, from, "peer"}) == nil {
			done <- err
		}
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fakePeers calls the members of a net.
type fakePeers struct {
	net  *ether
	from string
}

func (p *fakePeers) Propose(ctx context.Context, addr string, command []byte) (index uint64, err error) {
	return peerCall(ctx, p, addr, func(m *Member) (uint64, error) { return m.ServePropose(ctx, command) })
}

func (p *fakePeers) Confirm(ctx context.Context, addr string) (index uint64, err error) {
	return peerCall(ctx, p, addr, func(m *Member) (uint64, error) { return m.ServeConfirm(ctx) })
}

func (p *fakePeers) Renew(ctx context.Context, addr string, r Renewal) (Renewed, error) {
	return peerCall(ctx, p, addr, func(m *Member) (Renewed, error) { return m.ServeRenew(ctx, r) })
}

func (p *fakePeers) Place(ctx context.Context, addr string, log fragment.LogID) (string, error) {
	return peerCall(ctx, p, addr, func(m *Member) (string, error) { return m.ServePlace(ctx, log) })
}

func (p *fakePeers) Join(context.Context, string, JoinRequest) (Joined, error) {
	return Joined{}, errors.ErrUnsupported
}

func peerCall[T any](ctx context.Context, p *fakePeers, addr string, f func(*Member) (T, error)) (T, error) {
	values := make(chan T, 1)
	err := p.net.call(ctx, p.from, addr, func(m *Member) error {
		v, err := f(m)
		values <- v
		return err
	})
	var v T
	if err == nil {
		v = <-values
	}
	return v, err
}

// etherLink is a raft transport over a net, without pipelines.
type etherLink struct {
	*raft.InmemTransport
	net  *ether
	from string
}

func (l *etherLink) there(to raft.ServerAddress, f func() error) error {
	if err := l.net.pass(etherWay{l.from, string(to), "raft"}); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return l.net.pass(etherWay{string(to), l.from, "raft"})
}

func (l *etherLink) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func (l *etherLink) AppendEntries(id raft.ServerID, to raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	return l.there(to, func() error { return l.InmemTransport.AppendEntries(id, to, args, resp) })
}

func (l *etherLink) RequestVote(id raft.ServerID, to raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return l.there(to, func() error { return l.InmemTransport.RequestVote(id, to, args, resp) })
}

func (l *etherLink) RequestPreVote(id raft.ServerID, to raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return l.there(to, func() error { return l.InmemTransport.RequestPreVote(id, to, args, resp) })
}

func (l *etherLink) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	return l.there(to, func() error { return l.InmemTransport.InstallSnapshot(id, to, args, resp, data) })
}

func (l *etherLink) TimeoutNow(id raft.ServerID, to raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return l.there(to, func() error { return l.InmemTransport.TimeoutNow(id, to, args, resp) })
}
