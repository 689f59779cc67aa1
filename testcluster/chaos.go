package testcluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
)

// each does something with several nodes at a time, and fails the test if it
// can't be done.
func (c *Cluster) each(nodes []int, what string, f func(n *Node) error) {
	c.t.Helper()
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for k, i := range nodes {
		n := c.Node(i)
		c.note("%s %s", what, n.Name)
		wg.Go(func() {
			if err := f(n); err != nil {
				errs[k] = fmt.Errorf("%s %s: %w", what, n.Name, err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		c.t.Fatalf("testcluster: %v", err)
	}
}

// Start starts nodes that don't run, all at a time, and returns once all are
// open.
func (c *Cluster) Start(nodes ...int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	c.each(nodes, "start", func(n *Node) error { return n.Start(ctx) })
}

// Stop stops nodes in good order, one after the other.
func (c *Cluster) Stop(nodes ...int) {
	c.t.Helper()
	for _, i := range nodes {
		c.each([]int{i}, "stop", (*Node).Stop)
	}
}

// Kill kills nodes as SIGKILL does: they say nothing to anybody any more, and
// their connections break. Requests to the store that have left them may still
// land there. A pause ends with its node. Start gives them another life.
func (c *Cluster) Kill(nodes ...int) {
	c.t.Helper()
	for _, i := range nodes { // at once: none may notice that another is gone
		c.each([]int{i}, "kill", func(n *Node) error {
			if !n.kill() {
				return errors.New("it does not run")
			}
			c.hit("kill", 1)
			return nil
		})
		c.Resume(i)
	}
}

// Pause stops nodes as SIGSTOP does, as far as others can see: nothing goes in
// or out, neither to peers and clients nor to the store, until Resume. Inside,
// unlike there, they go on, and notice that they hear nothing.
func (c *Cluster) Pause(nodes ...int) {
	c.t.Helper()
	for _, i := range nodes {
		n := c.Node(i)
		c.note("pause %s", n.Name)
		c.mu.Lock()
		c.paused[i] = c.Net.around(n.Name)
		c.mu.Unlock()
		c.Net.Pause(n.Name)
	}
}

// Resume ends pauses. Everything that waited goes on its way.
func (c *Cluster) Resume(nodes ...int) {
	c.t.Helper()
	for _, i := range nodes {
		n := c.Node(i)
		c.mu.Lock()
		before, ok := c.paused[i]
		delete(c.paused, i)
		c.mu.Unlock()
		if ok {
			c.proved("pause", "pause of "+n.Name, c.Net.around(n.Name).Since(before))
			c.Net.Resume(n.Name)
		}
	}
}

// around counts what goes to and from a host.
func (s *Switch) around(host string) Counts {
	return s.Counts(host, "").plus(s.Counts("", host), 1)
}

// Partition cuts, both ways, between hosts of different groups, by stalling:
// nobody is told. What is within a group, and hosts of no group, stay as they
// are: clients and the store, if they are not named, reach all nodes.
func (c *Cluster) Partition(groups ...[]string) {
	c.t.Helper()
	c.note("partition %v", groups)
	acrossGroups(groups, func(from, to string) { c.cutting(Stalled, from, to) })
	c.Net.Partition(Stalled, groups...)
}

// Cut cuts one way between two hosts, until Heal.
func (c *Cluster) Cut(how Cutting, from, to string) {
	c.t.Helper()
	c.note("cut %s -> %s: %v", from, to, how)
	c.cutting(how, from, to)
	c.Net.Cut(how, from, to)
}

// cutting remembers what a link has counted before it is cut.
func (c *Cluster) cutting(how Cutting, from, to string) {
	if how == Whole {
		return
	}
	before := c.Net.Counts(from, to)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cuts = append(c.cuts, route{from, to})
	c.uncut = c.uncut.plus(before, 1)
}

// Heal ends all cuts, and makes all links normal. Pauses, and the faults of
// single nodes, stay.
func (c *Cluster) Heal() {
	c.note("heal")
	c.mu.Lock()
	cuts, hits := c.cuts, Counts{}.plus(c.uncut, -1)
	c.cuts, c.uncut = nil, Counts{}
	c.mu.Unlock()
	for _, r := range cuts {
		hits = hits.plus(c.Net.Counts(r.from, r.to), 1)
	}
	if len(cuts) > 0 {
		c.proved("cut", fmt.Sprintf("cut of %v", cuts), hits)
	}
	c.Net.Heal()
}

// hit notes that a fault took effect.
func (c *Cluster) hit(fault string, times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[fault] += times
}

// proved notes a fault, by whether it did anything.
func (c *Cluster) proved(fault, what string, hits Counts) {
	c.note("%s: %v", what, hits)
	if hits.Hit() > 0 {
		c.hit(fault, 1)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = append(c.idle, what)
}

// lateCreate is a create that a node's Faults held back and then applied.
const lateCreate = "late-create"

// Faults tells how often which faults took effect: "kill", "pause" and "cut" (by
// Resume and Heal, if they held something up or broke it), "late-create" (by the
// nodes' Faults). Safe for concurrent use.
func (c *Cluster) Faults() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	late := -c.landed
	for _, n := range c.nodes {
		late += n.Faults.Landed()
	}
	all := maps.Clone(c.faults)
	if late > 0 {
		all[lateCreate] = late
	}
	return all
}
