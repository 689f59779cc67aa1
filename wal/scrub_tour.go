package wal

import (
	"fmt"
	"hash/fnv"
	"io"
	"slices"

	"github.com/wpd-io/wpd/fsm"
)

// tour is what a pass visits, in order, and how many objects that is, about. It
// begins within one chain, and ends there with what was left out. What is written
// from now on is for the next: no pass runs after a writer that is faster.
func (x *scrubber) tour() (turn []*visit, objects uint64) {
	me := x.s.cfg.Identity
	var chains []*fsm.Chain
	x.s.cfg.Meta.View(func(m *fsm.State) {
		nodes := scrubbers(m, me.Node)
		for c := range m.Chains() {
			if scrubbedBy(c, nodes) == me.Node {
				chains = append(chains, c)
			}
		}
	})
	var begins []uint64 // how many objects there are before each
	for _, c := range chains {
		begins = append(begins, objects)
		v := &visit{x: x, epoch: c.Epoch, to: x.s.there(c)}
		objects += v.to
		turn = append(turn, v)
	}
	if objects == 0 {
		return nil, 0
	}
	at := scrubHash(me.Node, me.Boot) % objects
	i, exact := slices.BinarySearch(begins, at)
	if !exact {
		i--
	}
	first := turn[i]
	first.at = beginning(chains[i], at-begins[i])
	last := &visit{x: x, epoch: first.epoch, to: first.at, listed: true}
	return slices.Concat(turn[i:], turn[:i], []*visit{last}), objects
}

// beginning is the first object of the segment that holds object n.
func beginning(c *fsm.Chain, n uint64) (from uint64) {
	for _, x := range c.Cuts {
		if n < x.To {
			break
		}
		from = x.To
	}
	return from
}

// scrubbers are the identities of the nodes that scrub: this one, and whoever
// has a chain open.
func scrubbers(m *fsm.State, me string) []string {
	nodes := []string{me}
	for c := range m.Unsealed() {
		if c.State == fsm.ChainOpen {
			nodes = append(nodes, c.Node)
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes)
}

// scrubbedBy is the identity of the node that scrubs a chain. Of those that are
// sealed, only what a node that comes or goes has, or had, moves.
func scrubbedBy(c *fsm.Chain, nodes []string) (node string) {
	if c.State != fsm.ChainSealed {
		return c.Node
	}
	var most uint64
	for _, n := range nodes {
		if h := scrubHash(n, uint64(c.Epoch)); node == "" || h > most {
			node, most = n, h
		}
	}
	return node
}

func scrubHash(node string, n uint64) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, node) // never fails
	_, _ = fmt.Fprintf(h, "/%d", n)
	// Words that differ at their ends only have much of their hash in common.
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
