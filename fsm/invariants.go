package fsm

import (
	"cmp"
	"errors"
	"fmt"
	"maps"

	"github.com/wpd-io/wpd/fragment"
)

// Check returns the first invariant that the state breaks, nil if it keeps
// all. It looks at everything: for tests, restores and tools.
func (s *State) Check() error {
	if err := s.checkCluster(); err != nil {
		return err
	}
	for n := range s.Nodes() {
		if err := s.checkNode(n); err != nil {
			return fmt.Errorf("node %.300q: %w", n.Identity, err)
		}
	}
	unsealed := 0
	for c := range s.Chains() {
		if err := s.checkChain(c); err != nil {
			return fmt.Errorf("chain %s: %w", c.Epoch, err)
		}
		if c.State != ChainSealed {
			unsealed++
		}
	}
	if s.unsealed.Len() != unsealed {
		return fmt.Errorf("%d chains are listed as unsealed, %d are", s.unsealed.Len(), unsealed)
	}
	seen := make(map[fragment.Attachment]fragment.LogID)
	for l := range ascend(s.logs) {
		if err := s.checkLog(l, seen); err != nil {
			return fmt.Errorf("log %d: %w", l.ID, err)
		}
	}
	if s.names.Len() != s.logs.Len() {
		return fmt.Errorf("%d names for %d logs", s.names.Len(), s.logs.Len())
	}
	if s.holders != nil && !maps.Equal(s.holders, seen) {
		return fmt.Errorf("%d attachments are listed with logs that may not be theirs, there are %d", len(s.holders), len(seen))
	}
	return nil
}

func (s *State) checkCluster() error {
	empty := s.highestEpoch == 0 && s.highestLog == 0 && s.highestAttachment == 0 && s.nodes.Len() == 0
	switch c := s.cluster; {
	case c.ID.IsZero() && (c != Cluster{} || !empty):
		return errors.New("something is there before the cluster")
	case !c.ID.IsZero() && (c.Incarnation == 0 || c.Feature == 0):
		return fmt.Errorf("cluster %s has incarnation %d and feature level %d", c.ID, c.Incarnation, c.Feature)
	case c.Feature > FeatureLevel:
		return fmt.Errorf("feature level %d is above the known %d", c.Feature, FeatureLevel)
	case s.highestEpoch > highestMax || s.highestLog > highestMax || s.highestAttachment > AttachmentMax:
		return errors.New("a highest number is out of range")
	}
	return nil
}

func (s *State) checkNode(n *Node) error {
	other, named := s.NodeByName(n.Name)
	switch {
	case n.Removed:
	case !named || other != n:
		return fmt.Errorf("its name %.300q does not lead to it", n.Name)
	case n.Feature < s.cluster.Feature:
		return fmt.Errorf("it knows feature level %d, the cluster is at %d", n.Feature, s.cluster.Feature)
	}
	return n.check()
}

func (s *State) checkChain(c *Chain) error {
	switch {
	case c.State < ChainOpen || c.State > ChainSealed:
		return fmt.Errorf("its state is %d", uint32(c.State))
	case c.State == ChainOpen && c.DurableHint != 0:
		return fmt.Errorf("it is open with a durable hint %d", c.DurableHint)
	case (c.State == ChainSealed) != (c.Seal != Seal{}):
		return fmt.Errorf("it is %s with seal %+v", c.State, c.Seal)
	}
	return cmp.Or(s.checkGrant(c), s.checkWriter(c), s.checkSealer(c), c.checkSegments())
}

// checkGrant checks what never changes about a chain. Its node and boot may be
// ones that the metadata never knew, if it was adopted; its log may be deleted.
func (s *State) checkGrant(c *Chain) error {
	switch {
	case c.Epoch == 0 || c.Epoch > s.highestEpoch:
		return fmt.Errorf("its epoch is not in [1, %s]", s.highestEpoch)
	case c.Boot == 0:
		return errors.New("its boot is zero")
	case c.Incarnation == 0 || c.Incarnation > s.cluster.Incarnation:
		return fmt.Errorf("its incarnation %d is not in [1, %d]", c.Incarnation, s.cluster.Incarnation)
	case c.Kind != KindObjects:
		return fmt.Errorf("its kind is %d", c.Kind)
	case c.Log > s.highestLog:
		return fmt.Errorf("its log %d is not in [0, %d]", c.Log, s.highestLog)
	}
	return cmp.Or(CheckNodeName("node", c.Node), checkWindow(c.Window))
}

// checkWriter checks that an open chain is one of the node's latest boot.
func (s *State) checkWriter(c *Chain) error {
	if c.State != ChainOpen {
		return nil
	}
	n, err := s.live(c.Node)
	switch {
	case err != nil:
		return fmt.Errorf("it is open: %w", err)
	case c.Boot != n.Boot:
		return fmt.Errorf("it is open under boot %d, the node is at %d", c.Boot, n.Boot)
	case c.Incarnation != s.cluster.Incarnation:
		return fmt.Errorf("it is open under incarnation %d, the cluster is at %d", c.Incarnation, s.cluster.Incarnation)
	}
	return nil
}

// checkSealer checks that who is asked to seal may: a removed node is not
// asked, one that did not register since a restore may be.
func (s *State) checkSealer(c *Chain) error {
	n, known := s.Node(c.Sealer)
	switch {
	case c.Sealer == "":
		return nil
	case c.State == ChainOpen:
		return fmt.Errorf("it is open with sealer %.300q", c.Sealer)
	case c.State == ChainSealing && known && n.Removed:
		return fmt.Errorf("its sealer %.300q is removed", c.Sealer)
	}
	return CheckNodeName("sealer", c.Sealer)
}

func (c *Chain) checkSegments() error {
	end := firstFragment
	for i, cut := range c.Cuts {
		if cut.From != end || cut.To <= cut.From {
			return fmt.Errorf("cut %d is [%d, %d) after %d", i, cut.From, cut.To, end)
		}
		if err := checkRef("index", cut.Index); err != nil {
			return fmt.Errorf("cut %d: %w", i, err)
		}
		end = cut.To
	}
	if c.State != ChainSealed {
		return nil
	}
	if len(c.Cuts) > 0 && c.Seal.At < end {
		return fmt.Errorf("it is sealed at %d, below its cuts' end %d", c.Seal.At, end)
	}
	return checkRef("seal index", c.Seal.Index)
}

func (s *State) checkLog(l *Log, seen map[fragment.Attachment]fragment.LogID) error {
	named, ok := s.LogByName(l.Name)
	switch {
	case !ok || named != l:
		return fmt.Errorf("its name %.300q does not lead to it", l.Name)
	}
	for _, x := range l.Extents {
		if other, ok := seen[x.Attachment]; ok {
			return fmt.Errorf("attachment %d is also one of log %d", x.Attachment, other)
		}
		seen[x.Attachment] = l.ID
	}
	return s.checkFacts(l)
}

// checkFacts checks all that a log says but what other logs may say as well.
func (s *State) checkFacts(l *Log) error {
	switch {
	case l.ID == 0 || l.ID > s.highestLog:
		return fmt.Errorf("its id is not in [1, %d]", s.highestLog)
	case l.ConfigVersion == 0:
		return errors.New("its configuration has no version")
	case l.First == 0 || l.First > lsnMax:
		return fmt.Errorf("its trim point is %d", l.First)
	}
	if err := cmp.Or(CheckName(l.Name), checkConfig(l.Config)); err != nil {
		return err
	}
	for i, x := range l.Extents {
		if err := s.checkExtent(l, i); err != nil {
			return fmt.Errorf("extent %d (attachment %d): %w", i, x.Attachment, err)
		}
	}
	last, ok := l.Last()
	switch {
	case !ok && (l.Attachment != 0 || l.First != 1 || l.Generation != 0):
		return fmt.Errorf("it has no extent, but attachment %d, trim point %d and generation %d", l.Attachment, l.First, l.Generation)
	case ok && last.End == 0 && l.Attachment != last.Attachment:
		return fmt.Errorf("its attachment is %d, that of its open extent %d", l.Attachment, last.Attachment)
	case ok && last.End != 0 && l.Attachment != 0:
		return fmt.Errorf("it is detached with attachment %d", l.Attachment)
	case ok && last.End != 0 && l.First > last.End:
		return fmt.Errorf("its trim point %d is above its end %d", l.First, last.End)
	}
	return nil
}

// checkExtent checks one extent and how it meets the one before it.
func (s *State) checkExtent(l *Log, i int) error {
	// The last two stay in any case.
	x, last, stays := l.Extents[i], i == len(l.Extents)-1, i >= len(l.Extents)-2
	switch c, ok := s.Chain(x.Epoch); {
	case !ok:
		return fmt.Errorf("its chain %s is unknown", x.Epoch)
	case !c.takes(l.ID):
		return fmt.Errorf("its chain %s is for log %d alone", x.Epoch, c.Log)
	case x.Attachment == 0 || x.Attachment > s.highestAttachment || x.Previous >= x.Attachment:
		return fmt.Errorf("its attachment %d after %d is not in [1, %d]", x.Attachment, x.Previous, s.highestAttachment)
	case x.First == 0 || x.First > lsnMax || x.End > lsnMax:
		return fmt.Errorf("its range [%d, %d) is out of range", x.First, x.End)
	case x.End != 0 && x.End < x.First:
		return fmt.Errorf("its range [%d, %d) is backward", x.First, x.End)
	case !last && x.End == 0:
		return errors.New("it has no end and is not the last")
	case !stays && x.empty():
		return fmt.Errorf("its range [%d, %d) is empty and not among the last two", x.First, x.End)
	case !stays && x.End <= l.First:
		return fmt.Errorf("its range [%d, %d) is below the trim point %d", x.First, x.End, l.First)
	case i == 0 && x.First > l.First:
		return fmt.Errorf("it begins at %d, above the trim point %d", x.First, l.First)
	}
	if i == 0 {
		return nil
	}
	// A blank extent was replaced and an empty one dropped, so the previous
	// attachment may lie between the two, but not below the one before.
	before := l.Extents[i-1]
	switch {
	case before.End != x.First:
		return fmt.Errorf("it begins at %d, the one before ends at %d", x.First, before.End)
	case before.Attachment > x.Previous:
		return fmt.Errorf("it follows attachment %d, the one before is %d", x.Previous, before.Attachment)
	}
	return nil
}

// checkAdopted tells whether the log may be put in, with extents that no log
// had before.
func (s *State) checkAdopted(l *Log, adopted []Extent) error {
	if err := s.checkFacts(l); err != nil {
		return err
	}
	if _, c, ok := s.Attached(l); ok && c.State == ChainOpen {
		return fmt.Errorf("it is attached to chain %s, which is open", c.Epoch)
	}
	if len(adopted) == 0 {
		return nil
	}
	if s.holders == nil {
		s.holders = make(map[fragment.Attachment]fragment.LogID)
		for other := range ascend(s.logs) {
			s.hold(other)
		}
	}
	for _, x := range adopted {
		if other, ok := s.holders[x.Attachment]; ok {
			return fmt.Errorf("attachment %d is also one of log %d", x.Attachment, other)
		}
	}
	return nil
}
