package fsm

import "github.com/wpd-io/wpd/fragment"

// Limits on what a command may say. They are part of the replicated function:
// replicas that disagree on one come apart, so a new value needs a feature
// level.
const (
	NameBytesMax       = 255  // a log's name, a node's name or identity
	AddressBytesMax    = 255  // each that a node advertises
	LabelBytesMax      = 64   // a zone, a version
	RefKeyBytesMax     = 1024 // what the large object stores take
	WindowMax          = 1024 // a sealer looks at twice as many objects
	EntryBytesMaxLimit = fragment.EntryBytesMax
	CommandBytesMax    = 256 << 10 // room for an AdoptLog with thousands of extents
	AttachmentMax      = 1<<32 - 1 // the highest: the upper half of a producer id holds it

	highestMax    = 1<<63 - 1 // of epochs and log ids; out of reach
	lsnMax        = 1<<63 - 1 // of ends and trim points; out of reach
	firstFragment = uint64(1) // 0 is the object that opens a chain
)

// EntryBytesMaxDefault is the payload limit of a log that asks for none. The
// proposer fills it in: a command says what it means.
const EntryBytesMaxDefault = fragment.EntryBytesDefault

// FeatureLevel is the highest feature level that this code knows.
const FeatureLevel uint64 = 1
