package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm"
)

const (
	// gossipLabel keeps memberlists of other programs out.
	gossipLabel = "wpd.gossip.v1"
	// gossipNodesMax bounds the nodes that are remembered; others are ignored.
	gossipNodesMax = 1024

	lookupTimeout  = 5 * time.Second
	gossipTimeout  = 3 * time.Second        // of a stream
	farewell       = 500 * time.Millisecond // for others to hear that this node stops
	seekAlone      = time.Second            // between two tries to reach anybody
	seekInCompany  = 10 * time.Second       // between two tries to reach those who are missing
	announceWithin = time.Second
)

// gossip finds other nodes, and nothing else: whether one is a member, and
// whether it is well, is for raft to say.
type gossip struct {
	config   Config
	identity string
	at       string // where others reach it, as memberlist has it
	net      *gossipNet
	list     *memberlist.Memberlist
	limit    logLimit   // for nodes that are ignored
	telling  sync.Mutex // one announcement at a time

	mu    sync.Mutex // may be taken while memberlist's lock is held
	mine  meta
	seen  map[string]seen
	moved signal // that seen has changed
}

// seen is another node that is there as far as gossip knows.
type seen struct {
	identity string
	gossip   string // where it listens for gossip
	meta
}

// nameOf returns the name that an identity begins with.
func nameOf(identity string) string {
	return identity[:max(0, len(identity)-identitySuffixBytes)]
}

// openGossip listens, without telling anything yet.
func openGossip(c Config) (*gossip, error) {
	n, err := openGossipNet(c.Network, c.GossipListen, c.GossipAdvertise)
	if err != nil {
		return nil, fmt.Errorf("listen for gossip at %s: %w", c.GossipListen, err)
	}
	return &gossip{config: c, net: n, seen: make(map[string]seen)}, nil
}

// start tells others of this node.
func (g *gossip) start(identity string, mine meta) (err error) {
	g.identity, g.mine = identity, mine
	conf := memberlist.DefaultLANConfig()
	conf.Name = identity
	conf.Transport = g.net
	conf.Label = gossipLabel
	conf.TCPTimeout = gossipTimeout
	conf.DeadNodeReclaimTime = time.Nanosecond // an identity that comes back elsewhere is itself
	conf.Delegate, conf.Events, conf.Alive = gossipMeta{g}, gossipEvents{g}, gossipFilter{g}
	conf.Logger = newRaftLogger(g.config.Logger).gossipLogger()
	if g.list, err = memberlist.Create(conf); err != nil {
		return fmt.Errorf("start gossip: %w", err)
	}
	g.at = g.list.LocalNode().Address()
	return nil
}

// close tells the others that this node stops.
func (g *gossip) close() error {
	if g.list == nil {
		return g.net.Shutdown()
	}
	_ = g.list.Leave(farewell) // else they find out
	return g.list.Shutdown()
}

// tell changes what others are told of this node.
func (g *gossip) tell(change func(*meta)) {
	g.telling.Lock()
	defer g.telling.Unlock()
	g.mu.Lock()
	before := g.mine
	change(&g.mine)
	same := g.mine == before
	g.mu.Unlock()
	if !same {
		_ = g.list.UpdateNode(announceWithin) // it goes on after that
	}
}

// nodes returns who else is there, by identity.
func (g *gossip) nodes() []seen {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.SortedFunc(maps.Values(g.seen), func(a, b seen) int { return strings.Compare(a.identity, b.identity) })
}

func (g *gossip) node(identity string) (seen, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, ok := g.seen[identity]
	return n, ok
}

// changed returns a channel that is closed when nodes has changed.
func (g *gossip) changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.moved.wait()
}

// seek looks for others at the addresses configured, and at those that more
// returns, until close.
func (g *gossip) seek(more func() []string) {
	for {
		for _, addr := range append(slices.Clone(g.config.Join), more()...) {
			if g.net.ctx.Err() != nil {
				return
			}
			g.contact(addr)
		}
		pause := seekInCompany
		if len(g.nodes()) == 0 {
			pause = seekAlone
		}
		select {
		case <-time.After(pause):
		case <-g.net.ctx.Done():
			return
		}
	}
}

// contact tries to reach whoever listens at an address, unless that one is
// known.
func (g *gossip) contact(addr string) {
	ctx, cancel := context.WithTimeout(g.net.ctx, lookupTimeout)
	defer cancel()
	ips, port, err := lookup(ctx, g.config.Network, addr)
	if err != nil {
		if _, ok := g.limit.pass(); ok {
			g.config.Logger.Warn("a node to join is not found", "addr", addr, "err", err)
		}
		return
	}
	for _, ip := range ips {
		at := (&memberlist.Node{Addr: ip, Port: uint16(port)}).Address()
		if !g.knows(at) {
			_, _ = g.list.Join([]string{at}) // memberlist logs; it is tried again
		}
	}
}

func (g *gossip) knows(addr string) bool {
	if g.at == addr {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range g.seen {
		if n.gossip == addr {
			return true
		}
	}
	return false
}

// gossipMeta implements memberlist.Delegate.
type gossipMeta struct{ g *gossip }

func (d gossipMeta) NodeMeta(int) []byte {
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	return d.g.mine.encode()
}
func (gossipMeta) NotifyMsg([]byte)                {}
func (gossipMeta) GetBroadcasts(int, int) [][]byte { return nil }
func (gossipMeta) LocalState(bool) []byte          { return nil }
func (gossipMeta) MergeRemoteState([]byte, bool)   {}

// gossipFilter implements memberlist.AliveDelegate.
type gossipFilter struct{ g *gossip }

var errIgnored = errors.New("it is not for us")

// NotifyAlive refuses nodes of other clusters, and what is not a node of wpd's.
func (f gossipFilter) NotifyAlive(n *memberlist.Node) error {
	if n.Name == f.g.identity {
		return nil
	}
	m, err := decodeMeta(n.Meta)
	if err == nil {
		err = fsm.CheckNodeName("identity", n.Name)
	}
	if err == nil {
		err = f.g.judge(n.Name, m)
	}
	if err == nil {
		return nil
	}
	if dropped, ok := f.g.limit.pass(); ok {
		f.g.config.Logger.Warn("a node is ignored", "identity", n.Name, "addr", n.Address(), "err", err, "unlogged", dropped)
	}
	return errIgnored
}

func (g *gossip) judge(identity string, m meta) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.seen[identity]; !known && len(g.seen) == gossipNodesMax {
		return fmt.Errorf("%d nodes are known already", gossipNodesMax)
	}
	if others(g.mine.cluster, m.cluster) {
		return fmt.Errorf("it is of cluster %s, this node is of %s", m.cluster, g.mine.cluster)
	}
	return nil
}

// others tells whether both clusters are known, and are not the same.
func others(a, b fragment.ClusterID) bool { return !a.IsZero() && !b.IsZero() && a != b }

// gossipEvents implements memberlist.EventDelegate.
type gossipEvents struct{ g *gossip }

func (e gossipEvents) NotifyJoin(n *memberlist.Node)   { e.put(n) }
func (e gossipEvents) NotifyUpdate(n *memberlist.Node) { e.put(n) }

func (e gossipEvents) put(n *memberlist.Node) {
	m, err := decodeMeta(n.Meta)
	if err != nil || n.Name == e.g.identity {
		return
	}
	e.g.mu.Lock()
	defer e.g.mu.Unlock()
	e.g.seen[n.Name] = seen{identity: n.Name, gossip: n.Address(), meta: m}
	e.g.moved.fire()
}

func (e gossipEvents) NotifyLeave(n *memberlist.Node) {
	e.g.mu.Lock()
	defer e.g.mu.Unlock()
	if _, ok := e.g.seen[n.Name]; ok {
		delete(e.g.seen, n.Name)
		e.g.moved.fire()
	}
}
