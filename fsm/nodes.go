package fsm

import (
	"fmt"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

func (s *State) registerBoot(c *fsmpb.RegisterBoot) (Result, error) {
	n, err := bootOf(c)
	if err != nil {
		return Result{}, err
	}
	old, known := s.Node(n.Identity)
	switch {
	case known && old.Removed:
		return Result{}, &RemovedError{Identity: old.Identity, Name: old.Name}
	case known && *old == *n:
		return Result{}, nil
	case known && n.Boot <= old.Boot:
		return Result{}, &StaleError{What: "boot", Of: n.Identity, Have: old.Boot, Want: n.Boot - 1}
	case n.Feature < s.cluster.Feature:
		return Result{}, &FeatureError{Level: s.cluster.Feature, Nodes: []string{n.Identity}}
	}
	if other, ok := s.NodeByName(n.Name); ok && other.Identity != n.Identity {
		return Result{}, &NameTakenError{Name: n.Name, Identity: other.Identity}
	}
	s.nodes.ReplaceOrInsert(n)
	s.endChains(n.Identity, n.Identity)
	return Result{}, nil
}

// bootOf returns the node that a command tells of.
func bootOf(c *fsmpb.RegisterBoot) (*Node, error) {
	n := &Node{
		Identity: c.GetIdentity(), Name: c.GetName(), Boot: c.GetBoot(),
		GRPC: c.GetGrpc(), HTTP: c.GetHttp(), Raft: c.GetRaft(), Gossip: c.GetGossip(),
		Zone: c.GetZone(), Version: c.GetVersion(), Feature: featureOf(c.GetFeature()),
	}
	if len(c.GetNonce()) != len(n.Nonce) {
		return nil, &InvalidError{Field: "nonce", Reason: fmt.Sprintf("has %d bytes, want %d", len(c.GetNonce()), len(n.Nonce))}
	}
	n.Nonce = fragment.Nonce(c.GetNonce())
	return n, n.check()
}

// featureOf reads a node's feature level. The first versions did not tell it;
// they knew level 1.
func featureOf(told uint64) uint64 { return max(told, 1) }

// check returns an *InvalidError if one of the node's facts can't be.
func (n *Node) check() error {
	for _, err := range []error{
		CheckNodeName("identity", n.Identity),
		CheckNodeName("name", n.Name),
		checkAddress("grpc address", n.GRPC),
		checkAddress("http address", n.HTTP),
		checkAddress("raft address", n.Raft),
		checkAddress("gossip address", n.Gossip),
		checkLabel("zone", n.Zone),
		checkLabel("version", n.Version),
	} {
		if err != nil {
			return err
		}
	}
	if n.Boot == 0 {
		return &InvalidError{Field: "boot", Reason: "is zero"}
	}
	return nil
}

func (s *State) removeNode(c *fsmpb.RemoveNode) (Result, error) {
	n, err := s.node(c.GetIdentity())
	if err != nil {
		return Result{}, err
	}
	if !n.Removed {
		s.tombstone(n)
		s.endChains(n.Identity, "")
		s.dismiss(n.Identity)
	}
	return Result{}, nil
}

func (s *State) tombstone(n *Node) {
	next := *n
	next.Removed = true
	s.nodes.ReplaceOrInsert(&next)
}

// endChains begins to seal the open chains of a node: nothing writes them any
// more, or nothing shall.
func (s *State) endChains(identity, sealer string) {
	s.reseal(sealer, func(c *Chain) bool { return c.Node == identity && c.State == ChainOpen })
}

// dismiss takes back what a node was asked to seal.
func (s *State) dismiss(identity string) {
	s.reseal("", func(c *Chain) bool { return c.Sealer == identity })
}

// reseal makes the sealer that of all unsealed chains that are chosen.
func (s *State) reseal(sealer string, chosen func(*Chain) bool) {
	var changed []*Chain // not put while the tree is walked
	for c := range s.Unsealed() {
		if chosen(c) {
			next := *c
			next.State = ChainSealing
			next.Sealer = sealer
			changed = append(changed, &next)
		}
	}
	for _, c := range changed {
		s.putChain(c)
	}
}
