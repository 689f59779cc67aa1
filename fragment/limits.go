package fragment

// Sizes that the format and its users agree on, in bytes unless said.
const (
	// ObjectBytesMax bounds every object of ours: one PUT, never multipart.
	ObjectBytesMax = 16<<20 - 1
	// FragmentBytes is the size at which an open fragment is full.
	FragmentBytes = 8 << 20
	// EntryBytesDefault is the limit of an entry (headers and data) where a
	// log's configuration gives none.
	EntryBytesDefault = 1 << 20
	// EntryBytesMax is the highest limit that can be configured.
	EntryBytesMax = 8 << 20
	// HeaderBytesMax bounds the headers of one entry, as encoded.
	HeaderBytesMax = 16 << 10
	// BatchEntriesMax bounds the number of entries of a batch.
	BatchEntriesMax = 1000
	// BatchBytesTarget is the size at which a producer closes a batch.
	BatchBytesTarget = 1 << 20
	// batchBytesSlack is what a batch may hold beyond one largest entry.
	batchBytesSlack = 64 << 10
	// BatchBytesMax bounds any batch under any configuration.
	BatchBytesMax = EntryBytesMax + batchBytesSlack
	// InFlightMax bounds the batches of one producer that are not answered
	// yet, and so how many of them a producer table remembers.
	InFlightMax = 64
	// OwnBytesMax bounds the JSON objects of a cluster's own. It is far above what
	// is ever written.
	OwnBytesMax = 64 << 10
)

// Limits is what batches of one log are held to.
type Limits struct {
	EntryBytesMax int // headers and data of one entry; 0 means EntryBytesDefault, at most EntryBytesMax
}

func (l Limits) entryBytesMax() int {
	if l.EntryBytesMax <= 0 {
		return EntryBytesDefault
	}
	return min(l.EntryBytesMax, EntryBytesMax)
}

// BatchBytesMax is the limit of a batch, as encoded and as decompressed: the
// larger of 4 MiB and one largest entry with some room.
func (l Limits) BatchBytesMax() int {
	return max(4<<20, l.entryBytesMax()+batchBytesSlack)
}
