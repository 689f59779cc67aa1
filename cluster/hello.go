package cluster

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/wpd-io/wpd/fragment"
)

// A connection for raft begins with a hello of who made it and another one of
// who took it, each
//
//	magic      8 bytes  "wpdraft\n"
//	version    u8       1
//	verdict    u8       0 in the first; in the second, why the connection ends
//	reserved   2 bytes  0
//	cluster    16 bytes
//	boot       u64      of the sender
//	nonce      16 bytes of that boot
//	from       u8 and 255 bytes: the length of the sender's identity, it, zeros
//	to         u8 and 255 bytes: the same of who is meant
//	checksum   u32      CRC32C of all before it
//
// with integers little-endian. Both ends check the other's boot against the
// metadata, or against the object that it made in the bucket: raft itself
// believes whatever comes.
const (
	helloMagic    = "wpdraft\n"
	helloVersion  = 1
	helloIDMax    = 255
	helloSumAt    = len(helloMagic) + 4 + 16 + 8 + 16 + 2*(1+helloIDMax)
	helloBytes    = helloSumAt + 4
	helloHeadSize = len(helloMagic) + 4
)

// verdict says how a connection goes on after its hellos.
type verdict uint8

const (
	verdictWelcome   verdict = 0
	verdictRemoved   verdict = 1 // the sender was removed from the cluster
	verdictStranger  verdict = 2 // neither the metadata nor the bucket knows the boot
	verdictElsewhere verdict = 3 // another node than the one that is meant
	verdictBusy      verdict = 4 // can't tell now
)

var verdictText = map[verdict]string{
	verdictWelcome:   "welcome",
	verdictRemoved:   "removed from the cluster",
	verdictStranger:  "not a boot that the cluster knows",
	verdictElsewhere: "another node was meant",
	verdictBusy:      "the bucket can't be asked",
}

func (v verdict) String() string {
	if s, ok := verdictText[v]; ok {
		return s
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

type hello struct {
	verdict  verdict
	cluster  fragment.ClusterID
	boot     uint64
	nonce    fragment.Nonce
	from, to string
}

func (h hello) encode() []byte {
	b := make([]byte, 0, helloBytes)
	b = append(b, helloMagic...)
	b = append(b, helloVersion, byte(h.verdict), 0, 0)
	b = append(b, h.cluster[:]...)
	b = binary.LittleEndian.AppendUint64(b, h.boot)
	b = append(b, h.nonce[:]...)
	for _, id := range []string{h.from, h.to} {
		b = append(b, byte(len(id)))
		b = append(b, id...)
		b = append(b, make([]byte, helloIDMax-len(id))...)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeHello is the inverse of encode. b has helloBytes bytes.
func decodeHello(b []byte) (h hello, err error) {
	if string(b[:len(helloMagic)]) != helloMagic {
		return h, fmt.Errorf("it begins with %q, not as raft does here", b[:len(helloMagic)])
	}
	if v := b[len(helloMagic)]; v != helloVersion {
		return h, fmt.Errorf("it speaks version %d, this version of wpd knows %d", v, helloVersion)
	}
	if have, want := crc32.Checksum(b[:helloSumAt], castagnoli), binary.LittleEndian.Uint32(b[helloSumAt:]); have != want {
		return h, fmt.Errorf("its checksum is %08x, not %08x", have, want)
	}
	h.verdict = verdict(b[len(helloMagic)+1])
	rest := b[helloHeadSize:]
	rest = rest[copy(h.cluster[:], rest):]
	h.boot = binary.LittleEndian.Uint64(rest)
	rest = rest[8:]
	rest = rest[copy(h.nonce[:], rest):]
	h.from = string(rest[1 : 1+int(rest[0])])
	rest = rest[1+helloIDMax:]
	h.to = string(rest[1 : 1+int(rest[0])])
	return h, nil
}
