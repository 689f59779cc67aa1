package fsm

import (
	"fmt"

	"github.com/wpd-io/wpd/fragment"
	"github.com/wpd-io/wpd/fsm/fsmpb"
)

func (s *State) initCluster(c *fsmpb.InitCluster) (Result, error) {
	if len(c.GetCluster()) != len(fragment.ClusterID{}) {
		return Result{}, &InvalidError{Field: "cluster", Reason: fmt.Sprintf("has %d bytes, want %d", len(c.GetCluster()), len(fragment.ClusterID{}))}
	}
	id := fragment.ClusterID(c.GetCluster())
	switch {
	case id.IsZero():
		return Result{}, &InvalidError{Field: "cluster", Reason: "is all zero"}
	case c.GetFeature() == 0:
		return Result{}, &InvalidError{Field: "feature", Reason: "is zero"}
	case s.cluster.ID == id:
		return Result{}, nil
	case !s.cluster.ID.IsZero():
		return Result{}, &ClusterError{Have: s.cluster.ID, Want: id}
	}
	s.cluster = Cluster{ID: id, Incarnation: 1, Feature: c.GetFeature()}
	return Result{}, nil
}

func (s *State) setFeature(c *fsmpb.SetFeature) (Result, error) {
	have := s.cluster.Feature
	switch {
	case c.GetLevel() == have:
		return Result{}, nil
	case c.GetFrom() != have:
		return Result{}, &StaleError{What: "feature level", Of: "the cluster", Have: have, Want: c.GetFrom()}
	case c.GetLevel() < have:
		return Result{}, &RangeError{What: "feature level", Of: "the cluster", Value: c.GetLevel(), From: have, To: FeatureLevel + 1}
	}
	s.cluster.Feature = c.GetLevel()
	return Result{}, nil
}

func (s *State) registerBoot(c *fsmpb.RegisterBoot) (Result, error) {
	n := &Node{Identity: c.GetIdentity(), Name: c.GetName(), Boot: c.GetBoot()}
	if err := CheckNodeName("identity", n.Identity); err != nil {
		return Result{}, err
	}
	if err := CheckNodeName("name", n.Name); err != nil {
		return Result{}, err
	}
	if len(c.GetNonce()) != len(n.Nonce) {
		return Result{}, &InvalidError{Field: "nonce", Reason: fmt.Sprintf("has %d bytes, want %d", len(c.GetNonce()), len(n.Nonce))}
	}
	n.Nonce = fragment.Nonce(c.GetNonce())
	if n.Boot == 0 {
		return Result{}, &InvalidError{Field: "boot", Reason: "is zero"}
	}
	if old, ok := s.Node(n.Identity); ok {
		if *old == *n {
			return Result{}, nil
		}
		if n.Boot <= old.Boot {
			return Result{}, &StaleError{What: "boot", Of: n.Identity, Have: old.Boot, Want: n.Boot - 1}
		}
	}
	s.nodes.ReplaceOrInsert(n)
	s.endEarlierBoots(n)
	return Result{}, nil
}

// endEarlierBoots begins to seal the node's open chains: it has just started,
// so nothing writes them any more.
func (s *State) endEarlierBoots(n *Node) {
	var ended []*Chain
	for c := range s.Chains() {
		if c.Node == n.Identity && c.State == ChainOpen {
			next := *c
			next.State = ChainSealing
			next.Sealer = n.Identity
			ended = append(ended, &next)
		}
	}
	for _, c := range ended {
		s.chains.ReplaceOrInsert(c)
	}
}
