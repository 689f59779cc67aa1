package cluster

import (
	"errors"
	"fmt"

	"github.com/wpd-io/wpd/fragment"
)

// What a node tells of itself by gossip, beside its identity, is
//
//	version  u8        1
//	flags    u8        1: it is a member of a group
//	expect   u8        Config.Expect
//	cluster  16 bytes  zero while not known
//	probe    16 bytes  the nonce in its probe object
//	grpc     u8 and that many bytes
//	raft     u8 and that many bytes
//
// in at most metaBytesMax bytes. What follows is of a newer version, and is
// skipped.
const (
	metaVersion    = 1
	metaMember     = 1
	metaHeadBytes  = 3 + 16 + 16
	metaBytesMax   = 512 // memberlist's limit
	metaAddressMax = 230 // each; host names have at most 253 bytes, few have 50
)

type meta struct {
	member  bool
	expect  int
	cluster fragment.ClusterID
	probe   fragment.Nonce
	grpc    string
	raft    string
}

func (m meta) encode() []byte {
	b := make([]byte, 0, metaBytesMax)
	var flags byte
	if m.member {
		flags |= metaMember
	}
	b = append(b, metaVersion, flags, byte(m.expect))
	b = append(b, m.cluster[:]...)
	b = append(b, m.probe[:]...)
	for _, a := range []string{m.grpc, m.raft} {
		b = append(b, byte(len(a)))
		b = append(b, a...)
	}
	return b
}

var errMetaShort = errors.New("what it tells of itself is cut short")

func decodeMeta(b []byte) (m meta, err error) {
	if len(b) < metaHeadBytes {
		return m, errMetaShort
	}
	if b[0] != metaVersion {
		return m, fmt.Errorf("it speaks version %d, this version of wpd knows %d", b[0], metaVersion)
	}
	m.member = b[1]&metaMember != 0
	m.expect = int(b[2])
	b = b[3:]
	b = b[copy(m.cluster[:], b):]
	b = b[copy(m.probe[:], b):]
	for _, a := range []*string{&m.grpc, &m.raft} {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return m, errMetaShort
		}
		n := 1 + int(b[0])
		*a, b = string(b[1:n]), b[n:]
	}
	return m, nil
}
