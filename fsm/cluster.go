package fsm

import (
	"fmt"
	"slices"

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
	if behind := s.behind(c.GetLevel()); len(behind) > 0 {
		return Result{}, &FeatureError{Level: c.GetLevel(), Nodes: behind}
	}
	s.cluster.Feature = c.GetLevel()
	return Result{}, nil
}

// behind lists the nodes that don't know a feature level.
func (s *State) behind(level uint64) (identities []string) {
	for n := range s.Nodes() {
		if !n.Removed && n.Feature < level {
			identities = append(identities, n.Identity)
		}
	}
	return identities
}

func (s *State) nextIncarnation(c *fsmpb.NextIncarnation) (Result, error) {
	if have := s.cluster.Incarnation; c.GetFrom() != have {
		return Result{}, &StaleError{What: "incarnation", Of: "the cluster", Have: have, Want: c.GetFrom()}
	}
	if err := s.checkMembers(c.GetMembers(), c.GetSealer()); err != nil {
		return Result{}, err
	}
	switch {
	case c.GetHighestEpoch() > highestMax:
		return Result{}, &InvalidError{Field: "highest epoch", Reason: "is out of range"}
	case c.GetHighestLog() > highestMax:
		return Result{}, &InvalidError{Field: "highest log", Reason: "is out of range"}
	case c.GetHighestAttachment() > AttachmentMax:
		return Result{}, &InvalidError{Field: "highest attachment", Reason: "is out of range"}
	}
	s.cluster.Incarnation++
	s.highestEpoch = max(s.highestEpoch, fragment.Epoch(c.GetHighestEpoch()))
	s.highestLog = max(s.highestLog, fragment.LogID(c.GetHighestLog()))
	s.highestAttachment = max(s.highestAttachment, fragment.Attachment(c.GetHighestAttachment()))
	for _, n := range slices.Collect(s.Nodes()) {
		if !n.Removed && !slices.Contains(c.GetMembers(), n.Identity) {
			s.tombstone(n)
		}
	}
	s.reseal(c.GetSealer(), func(*Chain) bool { return true })
	return Result{}, nil
}

// checkMembers tells whether these may be the nodes of the next incarnation.
func (s *State) checkMembers(members []string, sealer string) error {
	for _, identity := range members {
		if err := CheckNodeName("member", identity); err != nil {
			return err
		}
		if n, ok := s.Node(identity); ok && n.Removed {
			return &RemovedError{Identity: n.Identity, Name: n.Name}
		}
	}
	if !slices.Contains(members, sealer) {
		return &InvalidError{Field: "sealer", Reason: "is not one of the members"}
	}
	return nil
}
