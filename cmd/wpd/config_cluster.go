package main

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/wpd-io/wpd/node"
)

const (
	raftAddrDefault   = "127.0.0.1:7071"
	gossipAddrDefault = "127.0.0.1:7072"
)

func (s *settings) clusterRoom() room {
	c := &s.node.Cluster
	c.RaftListen, c.GossipListen = raftAddrDefault, gossipAddrDefault
	c.LeaseTTL, c.RemoveDead, c.MovesPerSecond = node.LeaseTTLDefault, 72*time.Hour, node.MovesPerSecondDefault
	return room{"The cluster", "How nodes find each other. A node with none of `join`, `bootstrap` and `bootstrap_expect` is alone, and looks at nothing else here.", []*knob{
		{key: "join", value: &listValue{p: &c.Join}, what: "Gossip addresses of some of the other nodes, with commas between them; the node's own does no harm, so that all can have the same list."},
		{key: "bootstrap_expect", value: count(&c.Expect, 0, 5), what: "Found a cluster of so many new nodes, once they have found each other. 0: no. A node that is a member already does not look at it."},
		{key: "bootstrap", value: boolValue{&c.Bootstrap}, what: "Found a cluster with this node alone; others join it. Not together with bootstrap_expect."},
		{key: "raft_listen", value: address(&c.RaftListen, false), what: "Where the metadata group's own connections come in."},
		{key: "gossip_listen", value: address(&c.GossipListen, false), what: "Where nodes look for each other, by TCP and UDP."},
		{key: "advertise_listen", value: advertised(&c.AdvertiseGRPC), unset: "where it listens", what: "Where clients and other nodes reach the gRPC listener."},
		{key: "advertise_http_listen", value: advertised(&c.AdvertiseHTTP), unset: "where it listens", what: "Where the HTTP listener is said to be."},
		{key: "advertise_raft_listen", value: advertised(&c.AdvertiseRaft), unset: "where it listens", what: "Where other nodes reach the raft listener."},
		{key: "advertise_gossip_listen", value: advertised(&c.AdvertiseGossip), unset: "where it listens", what: "Where other nodes reach the gossip listener."},
		{key: "zone", value: zone(&c.Zone), unset: "none", what: "Where the node is; a log can ask for a writer in a zone (`wpd log create --zone`)."},
		{key: "voters", value: count(&c.Voters, 0, 5), what: "Nodes that vote, 3 or 5; others have the same metadata and do not vote. 0: 3, or 5 if more than 3 are expected."},
		{key: "remove_dead_after", value: duration(&c.RemoveDead, 0, 365*24*time.Hour), what: "Time after which a node that is gone is removed for good, as long as a majority stays. 0: never."},
		{key: "lease_ttl", value: duration(&c.LeaseTTL, 500*time.Millisecond, time.Minute), what: "Time for which a node that is not heard of keeps what it writes; then others take over. All nodes must have the same; one that has another stops."},
		{key: "moves_per_second", value: ratio(&c.MovesPerSecond, 0, 1000), what: "Logs that change hands in a second so that all nodes have their share. 0: none."},
	}}
}

// cluster is what a node is told of its cluster; nothing if it is to be alone.
func (s *settings) cluster() node.Cluster {
	c := s.node.Cluster
	if len(c.Join) == 0 && !c.Bootstrap && c.Expect == 0 {
		return node.Cluster{}
	}
	if c.RemoveDead == 0 {
		c.RemoveDead = -1
	}
	if c.MovesPerSecond == 0 {
		c.MovesPerSecond = -1
	}
	return c
}

func advertised(p *string) value {
	v := address(p, false).(*textValue)
	v.wants = "HOST:PORT"
	return v
}

func zone(p *string) value {
	return &textValue{p: p, kind: "name", wants: "up to 64 of A-Z a-z 0-9 . _ -", check: func(s string) bool {
		return len(s) <= 64 && strings.Trim(s, nameLetters) == ""
	}}
}

// listValue is a list of addresses.
type listValue struct{ p *[]string }

func (v *listValue) Set(s string) error {
	var all []string
	for addr := range strings.SplitSeq(s, ",") {
		if addr = strings.TrimSpace(addr); addr == "" {
			continue
		}
		_, port, err := net.SplitHostPort(addr)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 {
			return errors.New("want " + v.values())
		}
		all = append(all, addr)
	}
	*v.p = all
	return nil
}

func (v *listValue) String() string { return strings.Join(*v.p, ",") }
func (*listValue) Type() string     { return "addresses" }
func (*listValue) values() string   { return "HOST:PORT, with commas between several" }

// ratioValue is a number that need not be whole.
type ratioValue struct {
	p        *float64
	from, to float64
}

func ratio(p *float64, from, to float64) value { return ratioValue{p, from, to} }

func (v ratioValue) Set(s string) error {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n >= v.from && n <= v.to) {
		return errors.New("want " + v.values())
	}
	*v.p = n
	return nil
}

func (v ratioValue) String() string { return strconv.FormatFloat(*v.p, 'g', -1, 64) }
func (ratioValue) Type() string     { return "number" }
func (v ratioValue) values() string {
	return strconv.FormatFloat(v.from, 'g', -1, 64) + " to " + strconv.FormatFloat(v.to, 'g', -1, 64)
}
