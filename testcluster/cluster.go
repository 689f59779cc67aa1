package testcluster

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/wpd-io/wpd"
	"github.com/wpd-io/wpd/blobstore"
)

// ClientHost is the name that Cluster.Client has in a cluster's network, for
// cuts between it and nodes.
const ClientHost = "client"

// patience is how long a cluster waits for something that must happen, in
// whatever time the test runs.
const patience = 2 * time.Minute

// Cluster is some real nodes in this process, on one store and one network,
// both in memory and both with faults. Use [New]. Nodes are numbered from 0 and
// named from n1.
//
// What can't be done fails the test, so methods are for the test's own
// goroutine, except where they say otherwise.
type Cluster struct {
	// Net is between nodes, clients and the store: node names, ClientHost and
	// StoreHost are its hosts.
	Net *Switch
	// Store is the bucket of all nodes, without any fault.
	Store blobstore.Raw

	t       TB
	opts    options
	dir     string
	journal *journal
	rnd     *rand.Rand

	mu      sync.Mutex // guards what follows
	nodes   []*Node
	client  *wpd.Client
	clients []*wpd.Client
	faults  map[string]int // that took effect
	idle    []string       // that had none
	landed  int            // late creates that the last Audit has told
	cuts    []route        // since the last Heal
	uncut   Counts         // what they had counted before
	paused  map[int]Counts // what their hosts had counted before
}

// New makes a cluster of n nodes, 1 to 5, and returns once it can be written to.
// It ends with the test. It may be used in a testing/synctest bubble, if that
// is where New is called.
func New(t TB, n int, opts ...Option) *Cluster {
	t.Helper()
	if n < 1 || n > 5 {
		t.Fatalf("testcluster: %d nodes, want 1 to 5: further ones are for Add", n)
	}
	o := makeOptions(opts)
	c := &Cluster{
		Net: NewSwitch(rand.New(rand.NewPCG(o.seed, 1))), Store: o.store,
		t: t, opts: o, dir: t.TempDir(), journal: newJournal(), rnd: rand.New(rand.NewPCG(o.seed, 2)),
		faults: make(map[string]int), paused: make(map[int]Counts),
	}
	c.Net.Normal("", "", o.peers)
	c.Net.Normal("", StoreHost, o.bucket)
	c.Net.Normal(StoreHost, "", o.bucket)
	t.Cleanup(c.close)
	for range n {
		c.add(n)
	}
	c.Start(c.All()...)
	c.AwaitReady()
	return c
}

// add makes a node that was never started. expect is how many found the
// cluster with it.
func (c *Cluster) add(expect int) *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := newNode(c, len(c.nodes), expect)
	c.nodes = append(c.nodes, n)
	return n
}

// close ends everything.
func (c *Cluster) close() {
	c.mu.Lock()
	nodes, clients := c.nodes, c.clients
	c.mu.Unlock()
	c.Net.Heal()
	var wg sync.WaitGroup
	for _, n := range nodes {
		c.Net.Resume(n.Name)
		wg.Go(n.end)
	}
	for _, x := range clients {
		wg.Go(func() { _ = x.Close() }) // its nodes are gone: nothing can be flushed
	}
	wg.Wait()
	if inBubble() {
		time.Sleep(lingering)
	}
	if c.t.Failed() {
		c.t.Logf("the nodes of %s, seed %d, at last:\n%s", c.t.Name(), c.opts.seed, c.journal)
	}
}

// lingering is longer than what memberlist has begun goes on after it was shut
// down: a probe, at its slowest. In a bubble it can't outlive the test.
const lingering = 20 * time.Second

// inBubble says whether this is a testing/synctest bubble, whose clock begins in
// the year 2000.
func inBubble() bool { return time.Now().Year() < 2020 }

// note puts a line into the journal.
func (c *Cluster) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	c.journal.add(time.Now(), said{"*", line}, line)
}

// Node returns node i.
func (c *Cluster) Node(i int) *Node {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if i < 0 || i >= len(c.nodes) {
		c.t.Fatalf("testcluster: there is no node %d, there are %d", i, len(c.nodes))
	}
	return c.nodes[i]
}

// All are the numbers of all nodes, whether they run or not, those that were
// removed left out. Safe for concurrent use.
func (c *Cluster) All() (all []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		if !n.removed {
			all = append(all, n.index)
		}
	}
	return all
}

// Up are the numbers of the nodes that run. Safe for concurrent use.
func (c *Cluster) Up() (up []int) {
	for _, i := range c.All() {
		c.mu.Lock()
		n := c.nodes[i]
		c.mu.Unlock()
		if n.Node() != nil {
			up = append(up, i)
		}
	}
	return up
}

// Names are the names of nodes, as the network knows them.
func (c *Cluster) Names(nodes ...int) (names []string) {
	c.t.Helper()
	for _, i := range nodes {
		names = append(names, c.Node(i).Name)
	}
	return names
}

// Dial returns a client on a host of the network that knows some nodes; none
// means all. It is closed with the cluster. Cuts of ClientHost don't concern
// other hosts.
func (c *Cluster) Dial(host string, nodes ...int) *wpd.Client {
	c.t.Helper()
	if len(nodes) == 0 {
		nodes = c.All()
	}
	var addrs []string
	for _, i := range nodes {
		addrs = append(addrs, c.Node(i).Addr())
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	client, err := wpd.Dial(ctx, strings.Join(addrs, ","), wpd.WithDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		return c.Net.Host(host).Dial(ctx, addr)
	}), wpd.WithLogger(c.journal.logger(host, slog.LevelInfo, c.opts.logger)))
	if err != nil {
		c.t.Fatalf("dial the cluster from %s: %v", host, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clients = append(c.clients, client)
	return client
}

// Client returns the client of the cluster, on ClientHost. It is closed with it.
func (c *Cluster) Client() *wpd.Client {
	c.t.Helper()
	c.mu.Lock()
	client := c.client
	c.mu.Unlock()
	if client == nil {
		client = c.Dial(ClientHost)
		c.mu.Lock()
		c.client = client
		c.mu.Unlock()
	}
	return client
}

// Await waits until cond, and fails the test if that takes two minutes, or if
// the test ends.
func (c *Cluster) Await(what string, cond func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for n := 0; !cond(); n++ {
		if pause(ctx, awaitPause(n)); ctx.Err() != nil {
			c.t.Fatalf("testcluster: waited in vain for %s", what)
		}
	}
}

// awaitPause is how long it is waited before a condition is looked at the n-th
// time again: the longer it takes, the less is a moment.
func awaitPause(n int) time.Duration {
	return min(5*time.Millisecond+time.Duration(n)*time.Millisecond, 100*time.Millisecond)
}

// AwaitReady waits until all nodes that run can append and read.
func (c *Cluster) AwaitReady() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for _, i := range c.Up() {
		n := c.Node(i)
		for k := 0; ; k++ {
			up := n.Node()
			if up == nil {
				break // it was killed meanwhile
			}
			err := up.Ready(ctx)
			if err == nil {
				break
			}
			if pause(ctx, awaitPause(k)); ctx.Err() != nil {
				c.t.Fatalf("testcluster: %s did not become ready: %v", n.Name, err)
			}
		}
	}
}
