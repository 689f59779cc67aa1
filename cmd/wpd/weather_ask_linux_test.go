package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/rpc/client"
	"github.com/wpd-io/wpd/rpc/wpdpb/adminv1"
)

// ask asks the nodes that run.
func (s *sky) ask(f func(ctx context.Context, a *client.Admin) error) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	a, err := client.DialAdmin(ctx, client.Config{Addrs: s.addrs(s.up()...)})
	if err != nil {
		return err
	}
	defer a.Close() //nolint:errcheck // a connection
	return f(ctx, a)
}

// members are the nodes of the cluster, as those that run see them; none if
// nobody says.
func (s *sky) members() (all []*adminv1.Node) {
	_ = s.ask(func(ctx context.Context, a *client.Admin) (err error) { // who asks comes again
		all, err = a.Nodes(ctx)
		return err
	})
	return all
}

// whole waits until all nodes that run, and no others, are in the cluster, and
// hold their leases.
func (s *sky) whole() {
	s.t.Helper()
	s.await("the cluster to be whole", func() bool {
		all := s.members()
		well, leads := wellOf(all)
		return leads && well == len(s.up()) && len(all) == well
	})
}

// voters waits until so many of the nodes vote: one that is new does after a
// while.
func (s *sky) voters(n int) {
	s.t.Helper()
	s.await(fmt.Sprintf("%d voters", n), func() bool {
		votes := 0
		for _, m := range s.members() {
			if m.GetRole() == "leader" || m.GetRole() == "voter" {
				votes++
			}
		}
		return votes >= n
	})
}

// leader is the node that leads.
func (s *sky) leader() (i int) {
	s.t.Helper()
	s.await("a leader", func() bool {
		for _, n := range s.members() {
			if n.GetRole() == "leader" {
				i = s.index(n.GetNodeId())
				return i >= 0
			}
		}
		return false
	})
	return i
}

// index is the number of the node of a name that runs; -1 if none does.
func (s *sky) index(name string) int {
	for _, i := range s.up() {
		if s.nodes[i].name == name {
			return i
		}
	}
	return -1
}

// lead makes a node the leader.
func (s *sky) lead(i int) int {
	s.t.Helper()
	s.await(s.nodes[i].name+" to lead", func() bool {
		if s.leader() == i {
			return true
		}
		_ = s.ask(func(ctx context.Context, a *client.Admin) error { // whoever led may be another one by now
			_, err := a.TransferLeader(ctx, s.nodes[i].name)
			return err
		})
		return false
	})
	return i
}

// remove takes a node out of the cluster.
func (s *sky) remove(i int) {
	s.t.Helper()
	name := s.nodes[i].name
	gone := func() bool {
		all := s.members()
		return len(all) > 0 && !slices.ContainsFunc(all, func(n *adminv1.Node) bool { return n.GetNodeId() == name })
	}
	s.await(name+" to be removed", func() bool {
		err := s.ask(func(ctx context.Context, a *client.Admin) error {
			_, err := a.RemoveNode(ctx, name)
			return err
		})
		return err == nil || gone()
	})
}

// metric is a number of a node's, the sum of all with that name and those words.
func (s *sky) metric(i int, name string, words ...string) (sum float64) {
	s.t.Helper()
	life := s.nodes[i].life
	life.t = s.t // it may have been started by another scenario
	found := false
	for line := range strings.Lines(life.get("/metrics")) {
		label, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if label != name && !strings.HasPrefix(label, name+"{") {
			continue
		}
		if slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(label, w) }) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		require.NoError(s.t, err, line)
		sum, found = sum+v, true
	}
	require.True(s.t, found, "%s has no metric %s with %v", s.nodes[i].name, name, words)
	return sum
}
