package fragment

import (
	"encoding/hex"
	"fmt"
	"strconv"
)

// LSN is an entry's position in its log: dense, the first entry is 1, and 0
// means none. Ranges of LSNs are half-open, [from, to).
type LSN uint64

// Epoch is a chain epoch: the number of a lease grant, never reused, and the
// fencing token of the chain that is written under it. The first is 1.
type Epoch uint64

// LogID identifies a log for ever; a recreated name is another log. The first
// is 1.
type LogID uint64

// Attachment numbers one stay of a log on a chain. Never reused, the first is
// 1; unique in a cluster, not only in a log.
type Attachment uint64

// Generation counts the exclusive writers of a log. 0 means that no exclusive
// writer was ever opened.
type Generation uint64

// ProducerID identifies a producer within a log. Its upper 32 bits are the
// attachment under which it was given out, so that no id is ever given twice.
// 0 means none.
type ProducerID uint64

// ProducerEpoch counts the lives of one producer. The first is 1.
type ProducerEpoch uint64

// Micros is a point in time in microseconds since the Unix epoch.
type Micros int64

// Nonce tells the objects of one boot from those of any other.
type Nonce [16]byte

// ClusterID is the UUID of a cluster.
type ClusterID [16]byte

// String returns the id as 32 hexadecimal digits; ParseClusterID is its
// inverse.
func (id ClusterID) String() string { return hex.EncodeToString(id[:]) }

// String returns the nonce as 32 hexadecimal digits.
func (n Nonce) String() string { return hex.EncodeToString(n[:]) }

// IsZero reports whether the id is unset.
func (id ClusterID) IsZero() bool { return id == ClusterID{} }

// ParseClusterID parses what ClusterID.String prints.
func ParseClusterID(s string) (ClusterID, error) {
	var id ClusterID
	if len(s) != hex.EncodedLen(len(id)) {
		return id, fmt.Errorf("cluster id %q: want %d hexadecimal digits", s, hex.EncodedLen(len(id)))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ClusterID{}, fmt.Errorf("cluster id %q: %w", s, err)
	}
	if id.String() != s {
		return ClusterID{}, fmt.Errorf("cluster id %q: want lower-case digits", s)
	}
	return id, nil
}

// String returns the epoch as 16 hexadecimal digits, so that the order of the
// strings is the order of the epochs; ParseEpoch is its inverse.
func (e Epoch) String() string { return fmt.Sprintf("%016x", uint64(e)) }

// ParseEpoch parses what Epoch.String prints.
func ParseEpoch(s string) (Epoch, error) {
	n, err := parseHex16(s)
	if err != nil {
		return 0, fmt.Errorf("chain epoch: %w", err)
	}
	return Epoch(n), nil
}

func parseHex16(s string) (uint64, error) {
	if len(s) != 16 {
		return 0, fmt.Errorf("%q: want 16 hexadecimal digits", s)
	}
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil || fmt.Sprintf("%016x", n) != s {
		return 0, fmt.Errorf("%q: want 16 lower-case hexadecimal digits", s)
	}
	return n, nil
}
