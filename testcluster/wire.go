package testcluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wpd-io/wpd/node"
)

// The ports of every node, as those of wpd serve.
const (
	portGRPC   = 7070
	portRaft   = 7071
	portGossip = 7072
)

// wire puts a node into the network.
func (n *Node) wire(conf *node.Config, host *Host) error {
	l, err := host.Listen(n.Addr())
	if err != nil {
		return err
	}
	at := func(name string, port int) string { return fmt.Sprintf("%s:%d", name, port) }
	conf.Listener = l
	conf.Cluster = node.Cluster{
		RaftListen: at(n.Name, portRaft), GossipListen: at(n.Name, portGossip), AdvertiseGRPC: n.Addr(),
		Expect: n.expect, Network: host,
	}
	for _, i := range n.cluster.All() {
		conf.Cluster.Join = append(conf.Cluster.Join, at(n.cluster.Node(i).Name, portGossip))
	}
	return nil
}

// leaderOf is the name of the node that leads, as a node sees it; empty: none.
func leaderOf(ctx context.Context, n *node.Node) string {
	c, err := n.Cluster(ctx)
	if err != nil {
		return ""
	}
	return c.GetLeaderNodeId()
}

// Leader waits until more than half of all nodes agree on who leads, and
// returns its number.
func (c *Cluster) Leader() int {
	c.t.Helper()
	leader := -1
	c.Await("a leader", func() bool {
		votes := make(map[string]int)
		for _, i := range c.Up() {
			if up := c.Node(i).Node(); up != nil {
				votes[leaderOf(c.t.Context(), up)]++
			}
		}
		all := c.All()
		for _, i := range all {
			if n := c.Node(i); n.Node() != nil && votes[n.Name] > len(all)/2 {
				leader = i
			}
		}
		return leader >= 0
	})
	return leader
}

// Writer waits until a node that runs writes a log, as far as any node knows, and
// returns its number.
func (c *Cluster) Writer(log string) int {
	c.t.Helper()
	writer := -1
	c.Await("a writer of "+log, func() bool {
		name := c.writerOf(log)
		for _, i := range c.Up() {
			if c.Node(i).Name == name {
				writer = i
			}
		}
		return writer >= 0
	})
	return writer
}

// askTimeout bounds a question to a node, which may be cut off from the others.
const askTimeout = time.Second

// writerOf asks all nodes who writes a log. The one with the latest metadata is
// right.
func (c *Cluster) writerOf(log string) (name string) {
	ctx, cancel := context.WithTimeout(c.t.Context(), askTimeout)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var latest uint64
	for _, i := range c.Up() {
		up := c.Node(i).Node()
		if up == nil {
			continue
		}
		wg.Go(func() {
			view, err := up.Cluster(ctx)
			if err != nil {
				return
			}
			l, err := up.Client().Log(ctx, log)
			if err != nil {
				return
			}
			info, err := l.Info(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && view.GetRaftIndex() >= latest {
				name, latest = info.Writer, view.GetRaftIndex()
			}
		})
	}
	wg.Wait()
	return name
}

// Add adds a node to the cluster, and returns its number once it is open.
func (c *Cluster) Add() int {
	c.t.Helper()
	n := c.add(0)
	c.Start(n.index)
	return n.index
}

// Remove removes a node from the cluster for ever. If it runs, it notices; Kill
// it, or let it be.
func (c *Cluster) Remove(i int) {
	c.t.Helper()
	gone := c.Node(i)
	c.note("remove %s", gone.Name)
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	for k := 0; ; k++ {
		err := errors.New("no other node runs")
		for _, other := range c.Up() {
			if up := c.Node(other).Node(); other != i && up != nil {
				if _, err = up.RemoveNode(ctx, gone.Name); err == nil {
					c.mu.Lock()
					gone.removed = true
					c.mu.Unlock()
					return
				}
			}
		}
		if pause(ctx, awaitPause(k)); ctx.Err() != nil {
			c.t.Fatalf("testcluster: remove %s: %v", gone.Name, err)
		}
	}
}
