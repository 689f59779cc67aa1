package fsm

import (
	"fmt"
	"iter"
	"strings"

	"github.com/google/btree"

	"github.com/wpd-io/wpd/fragment"
)

// degree of the trees: nodes of up to 63 pointers, half a kilobyte.
const degree = 32

// State is the metadata. It is not safe for concurrent use; Frozen is.
//
// The trees are copy-on-write and what they point to never changes, so that a
// snapshot costs nothing until it is written.
type State struct {
	applied           uint64
	cluster           Cluster
	highestEpoch      fragment.Epoch
	highestLog        fragment.LogID
	highestAttachment fragment.Attachment

	nodes    *btree.BTreeG[*Node]  // by identity
	chains   *btree.BTreeG[*Chain] // by epoch
	unsealed *btree.BTreeG[*Chain] // those of them that are not sealed
	logs     *btree.BTreeG[*Log]   // by id
	names    *btree.BTreeG[*Log]   // the same ones by name

	// holders says which log has an extent under an attachment, so that what
	// adopts logs one by one need not look at all of them each time. The first
	// adoption makes it, then it follows the logs; nil: it is not made. What a
	// command does never depends on whether it is, and no snapshot has it.
	holders map[fragment.Attachment]fragment.LogID
}

// New returns the state before the first command.
func New() *State {
	byEpoch := func(a, b *Chain) bool { return a.Epoch < b.Epoch }
	return &State{
		nodes:    btree.NewG(degree, func(a, b *Node) bool { return a.Identity < b.Identity }),
		chains:   btree.NewG(degree, byEpoch),
		unsealed: btree.NewG(degree, byEpoch),
		logs:     btree.NewG(degree, func(a, b *Log) bool { return a.ID < b.ID }),
		names:    btree.NewG(degree, func(a, b *Log) bool { return a.Name < b.Name }),
	}
}

// Cluster returns the cluster's identity, incarnation and feature level.
func (s *State) Cluster() Cluster { return s.cluster }

// AppliedIndex returns the raft index of the last command, 0 before the first.
func (s *State) AppliedIndex() uint64 { return s.applied }

// HighestEpoch returns the highest chain epoch given out, 0 if none was.
func (s *State) HighestEpoch() fragment.Epoch { return s.highestEpoch }

// HighestLog returns the highest log id given out, 0 if none was.
func (s *State) HighestLog() fragment.LogID { return s.highestLog }

// HighestAttachment returns the highest attachment given out, 0 if none was.
func (s *State) HighestAttachment() fragment.Attachment { return s.highestAttachment }

// Node returns a node by its identity.
func (s *State) Node(identity string) (*Node, bool) {
	return s.nodes.Get(&Node{Identity: identity})
}

// NodeByName returns the node of that name that is not removed. It looks at
// every node.
func (s *State) NodeByName(name string) (*Node, bool) {
	for n := range s.Nodes() {
		if n.Name == name && !n.Removed {
			return n, true
		}
	}
	return nil, false
}

// Nodes yields all nodes in the order of their identities, also the removed.
func (s *State) Nodes() iter.Seq[*Node] { return ascend(s.nodes) }

// Chain returns a chain by its epoch.
func (s *State) Chain(e fragment.Epoch) (*Chain, bool) {
	return s.chains.Get(&Chain{Epoch: e})
}

// Chains yields all chains in the order of their epochs.
func (s *State) Chains() iter.Seq[*Chain] { return ascend(s.chains) }

// Unsealed yields the chains that are open or being sealed, in the order of
// their epochs. It costs nothing for those that are sealed.
func (s *State) Unsealed() iter.Seq[*Chain] { return ascend(s.unsealed) }

// ChainCount returns the number of chains.
func (s *State) ChainCount() int { return s.chains.Len() }

// Log returns a log by its id.
func (s *State) Log(id fragment.LogID) (*Log, bool) {
	return s.logs.Get(&Log{ID: id})
}

// LogByName returns a log by its name.
func (s *State) LogByName(name string) (*Log, bool) {
	return s.names.Get(&Log{Name: name})
}

// Logs yields the logs whose names begin with prefix, in the order of their
// names.
func (s *State) Logs(prefix string) iter.Seq[*Log] { return s.LogsFrom(prefix, "") }

// LogsFrom is Logs, beginning after the name "after": so a listing goes on
// where its last page ended.
func (s *State) LogsFrom(prefix, after string) iter.Seq[*Log] {
	return func(yield func(*Log) bool) {
		s.names.AscendGreaterOrEqual(&Log{Name: max(prefix, after)}, func(l *Log) bool {
			if !strings.HasPrefix(l.Name, prefix) {
				return false
			}
			return after != "" && l.Name <= after || yield(l)
		})
	}
}

// LogCount returns the number of logs.
func (s *State) LogCount() int { return s.logs.Len() }

// Attached returns the extent that the log is being written in and the chain
// that holds it: the last one, unless it was detached or its chain is sealed.
func (s *State) Attached(l *Log) (Extent, *Chain, bool) {
	x, ok := l.Last()
	if !ok || x.End != 0 {
		return Extent{}, nil, false
	}
	c, ok := s.Chain(x.Epoch)
	if !ok || c.State == ChainSealed {
		return Extent{}, nil, false
	}
	return x, c, true
}

// Owner returns the open chain that a log is attached to: who writes the log is
// the chain's Node. It is false if there is no such log, and while the log is
// on no open chain.
func (s *State) Owner(id fragment.LogID) (c *Chain, attached bool) {
	l, ok := s.Log(id)
	if !ok {
		return nil, false
	}
	_, c, ok = s.Attached(l)
	if !ok || c.State != ChainOpen {
		return nil, false
	}
	return c, true
}

// LogsOn yields, by id, the logs whose last extent is on the chain and was not
// detached: those that are attached to it, or that its seal has ended. It
// looks at every log.
func (s *State) LogsOn(e fragment.Epoch) iter.Seq[*Log] {
	return func(yield func(*Log) bool) {
		s.logs.Ascend(func(l *Log) bool {
			x, ok := l.Last()
			return !ok || x.End != 0 || x.Epoch != e || yield(l)
		})
	}
}

func ascend[T any](t *btree.BTreeG[T]) iter.Seq[T] {
	return func(yield func(T) bool) { t.Ascend(yield) }
}

func (s *State) node(identity string) (*Node, error) {
	if n, ok := s.Node(identity); ok {
		return n, nil
	}
	return nil, &NotFoundError{What: "node", Key: fmt.Sprintf("%.300q", identity)}
}

func (s *State) chain(e fragment.Epoch) (*Chain, error) {
	if c, ok := s.Chain(e); ok {
		return c, nil
	}
	return nil, &NotFoundError{What: "chain", Key: e.String()}
}

func (s *State) log(id fragment.LogID) (*Log, error) {
	if l, ok := s.Log(id); ok {
		return l, nil
	}
	return nil, &NotFoundError{What: "log", Key: fmt.Sprint(uint64(id)), Deleted: id != 0 && id <= s.highestLog}
}

// live returns a node that is not removed.
func (s *State) live(identity string) (*Node, error) {
	n, err := s.node(identity)
	if err != nil {
		return nil, err
	}
	if n.Removed {
		return nil, &RemovedError{Identity: n.Identity, Name: n.Name}
	}
	return n, nil
}

func (s *State) putChain(c *Chain) {
	s.chains.ReplaceOrInsert(c)
	if c.State == ChainSealed {
		s.unsealed.Delete(c)
		return
	}
	s.unsealed.ReplaceOrInsert(c)
}

// putLog puts a log in, or in the place of what it was.
func (s *State) putLog(l *Log) {
	if old, ok := s.logs.ReplaceOrInsert(l); ok {
		s.release(old)
	}
	s.names.ReplaceOrInsert(l)
	s.hold(l)
}

func (s *State) dropLog(l *Log) {
	s.logs.Delete(l)
	s.names.Delete(l)
	s.release(l)
}

// hold notes what attachments a log has, if that is kept; release takes it back.
func (s *State) hold(l *Log) {
	if s.holders == nil {
		return
	}
	for _, x := range l.Extents {
		s.holders[x.Attachment] = l.ID
	}
}

func (s *State) release(l *Log) {
	if s.holders == nil {
		return
	}
	for _, x := range l.Extents {
		delete(s.holders, x.Attachment)
	}
}
