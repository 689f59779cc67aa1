package fsm

import (
	"fmt"

	"github.com/wpd-io/wpd/fragment"
)

// Cluster says which cluster the metadata belongs to. All zero before
// InitCluster.
type Cluster struct {
	ID          fragment.ClusterID
	Incarnation uint64 // counts restores and recoveries; the first is 1
	Feature     uint64 // commands above this level are not proposed yet
}

// Node is a member as the metadata knows it.
type Node struct {
	Identity string // name plus a random part made with the data directory
	Name     string // as configured; no two nodes that are not removed have one
	Boot     uint64 // the latest; chains of earlier ones are not open
	Nonce    fragment.Nonce

	// Addresses that it advertises, each as host:port, empty where it does
	// not listen: for clients and peers, for who runs it, for raft, for
	// gossip.
	GRPC, HTTP, Raft, Gossip string

	Zone    string // where it runs, as configured; may be empty
	Version string // of its binary, for people; may be empty
	Feature uint64 // highest feature level that its binary knows, at least 1
	Removed bool   // for ever: it registers no boot and is granted no chain
}

// ChainState is how far a chain is on its way. It only moves forward.
type ChainState uint32

// The states of a chain.
const (
	ChainOpen    ChainState = 1 // its writer may cut, and logs may be attached
	ChainSealing ChainState = 2 // somebody is looking for its end; never undone
	ChainSealed  ChainState = 3 // its end is known
)

func (s ChainState) String() string {
	switch s {
	case ChainOpen:
		return "open"
	case ChainSealing:
		return "sealing"
	case ChainSealed:
		return "sealed"
	}
	return fmt.Sprintf("state %d", uint32(s))
}

// ChainKind says how a chain's fragments are made durable.
type ChainKind uint32

// KindObjects is a chain of which each fragment is one object of the bucket.
const KindObjects ChainKind = 1

// Chain is one lease grant and what became of it.
type Chain struct {
	Epoch       fragment.Epoch
	Node        string // identity of the writer
	Boot        uint64 // the life of the writer that it was granted to
	Incarnation uint64 // of the cluster when it was granted
	Window      uint32 // W: fragments in flight at most
	Kind        ChainKind
	Log         fragment.LogID // the only log that may be attached; 0 = any may
	State       ChainState
	DurableHint uint64 // highest fragment that was heard to be durable; 0 = none
	// Sealer is the identity of the node asked to seal it. Empty while it is
	// open, and after a removal (of its node, or of who was asked) until
	// BeginSeal asks somebody.
	Sealer string
	Cuts   []Cut // [From, To) each, the first from 1, without a gap between them
	Seal   Seal  // zero unless Sealed
}

// Cut is a segment: the fragments [From, To) of a chain.
type Cut struct {
	From, To uint64
	Index    Ref
}

// Seal says that the fragments below At are all that counts of a chain.
type Seal struct {
	At    uint64
	Index Ref
}

// Ref names an index object.
type Ref struct {
	Key      string
	Size     uint64
	Checksum uint32 // CRC32C of its bytes
}

// LogConfig is what a log's owner may configure.
type LogConfig struct {
	EntryBytesMax uint32 // largest payload, 1 to EntryBytesMaxLimit
	Dedicated     bool   // written to a chain of its own
	Zone          string // where it is best written, a hint; may be empty
}

// Log is a named sequence of entries.
type Log struct {
	ID            fragment.LogID
	Name          string
	Config        LogConfig
	ConfigVersion uint64 // counts changes of Config; the first is 1
	Generation    fragment.Generation
	// Attachment is that of the last extent, until that is detached: then 0.
	// A seal of the extent's chain does not clear it: ask State.Attached.
	Attachment fragment.Attachment
	// Extents meet end to start. Those wholly below First are dropped, and so
	// are empty ones, but the last two stay in any case: where the log's
	// producers stand is held by the chain of the last one or, if that is
	// blank (its writer stopped before anything of the log was durable
	// there), by the chain of the one before. A blank one never becomes the
	// one before: the next attach says so and replaces it.
	Extents []Extent
	First   fragment.LSN // the first LSN left; starts at 1
	Created fragment.Micros
}

// Last returns the extent that the log grows in, or grew in last.
func (l *Log) Last() (Extent, bool) {
	if len(l.Extents) == 0 {
		return Extent{}, false
	}
	return l.Extents[len(l.Extents)-1], true
}

// Extent is the range [First, End) of a log's LSNs that one chain holds.
type Extent struct {
	Epoch      fragment.Epoch
	Attachment fragment.Attachment
	Previous   fragment.Attachment // of the extent that it was attached after, 0 = none
	First      fragment.LSN
	// End is 0 where the metadata does not know it: the log is attached, or
	// its chain's seal index tells.
	End fragment.LSN
}
