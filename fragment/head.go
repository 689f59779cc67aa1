package fragment

import "bytes"

// The layout of an object's header and footer; docs/format.md, "Object".
// The first and the last 64 bytes together name the object and its content.
const (
	headMagic   = "WPDF"
	footMagic   = "FDPW"
	headVersion = 1
	headLen     = 112
	footLen     = 64

	offHeadVersion   = 4
	offHeadKind      = 5
	offHeadRequired  = 6
	offHeadOptional  = 7
	offHeadEpoch     = 8
	offHeadN         = 16
	offHeadNonce     = 24
	offHeadDurable   = 40
	offHeadDirOffset = 48
	offHeadDirLen    = 56
	offHeadSum       = 60
	offHeadCluster   = 64
	offHeadIncarn    = 80
	offHeadApplied   = 88
	offHeadTime      = 96
	offHeadLen       = 104 // the rest up to headLen is reserved

	offFootDirOffset = 0
	offFootDirLen    = 8
	offFootDirSum    = 12
	offFootEpoch     = 16
	offFootN         = 24
	offFootNonce     = 32
	offFootHeadSum   = 48
	offFootSum       = 52
	offFootVersion   = 56
	offFootKind      = 57
	offFootReserved  = 58
	offFootMagic     = 60
)

// HeadLen is the size of an object's header, in bytes.
const HeadLen = headLen

// Head says what an object is, whose, and when it was frozen.
type Head struct {
	Kind        Kind
	Epoch       Epoch  // of its chain
	N           uint64 // its number in the chain; of an index object, where its range ends
	Nonce       Nonce  // of the boot that wrote it
	Durable     uint64 // objects up to this one were durable when this one was frozen
	Cluster     ClusterID
	Incarnation uint64
	Applied     uint64 // raft index that the writer had applied
	Time        Micros // when it was frozen, by the writer's clock

	dirOffset int
	dirLen    int
	sum       uint32
}

// Len is the length of the whole object, in bytes.
func (h Head) Len() int { return h.dirOffset + h.dirLen + footLen }

// Directory returns where the directory and the footer behind it lie.
func (h Head) Directory() (offset, length int) { return h.dirOffset, h.dirLen + footLen }

func (h *Head) encode() []byte {
	b := make([]byte, headLen)
	copy(b, headMagic)
	b[offHeadVersion] = headVersion
	b[offHeadKind] = byte(h.Kind)
	le.PutUint64(b[offHeadEpoch:], uint64(h.Epoch))
	le.PutUint64(b[offHeadN:], h.N)
	copy(b[offHeadNonce:], h.Nonce[:])
	le.PutUint64(b[offHeadDurable:], h.Durable)
	le.PutUint64(b[offHeadDirOffset:], uint64(h.dirOffset))
	le.PutUint32(b[offHeadDirLen:], uint32(h.dirLen))
	copy(b[offHeadCluster:], h.Cluster[:])
	le.PutUint64(b[offHeadIncarn:], h.Incarnation)
	le.PutUint64(b[offHeadApplied:], h.Applied)
	le.PutUint64(b[offHeadTime:], uint64(h.Time))
	le.PutUint16(b[offHeadLen:], headLen)
	h.sum = headerSum(b)
	le.PutUint32(b[offHeadSum:], h.sum)
	return b
}

func headerSum(b []byte) uint32 { return Checksum(b[:offHeadSum], b[offHeadCluster:headLen]) }

// DecodeHead decodes the header at the start of b, which may hold more.
// Errors: *CorruptError, *VersionError.
func DecodeHead(b []byte) (Head, error) {
	switch {
	case len(b) < headLen:
		return Head{}, corrupt(0, "header: %d bytes, want %d", len(b), headLen)
	case !bytes.Equal(b[:4], []byte(headMagic)):
		return Head{}, corrupt(0, "header: magic %q, want %q", b[:4], headMagic)
	case b[offHeadVersion] != headVersion:
		return Head{}, otherVersion([headLen]byte(b))
	case le.Uint32(b[offHeadSum:]) != headerSum(b):
		return Head{}, corrupt(offHeadSum, "header: checksum %08x, want %08x", le.Uint32(b[offHeadSum:]), headerSum(b))
	case b[offHeadRequired] != 0:
		return Head{}, &VersionError{What: "fragment feature bits", Have: uint64(b[offHeadRequired]), Know: 0, Offset: offHeadRequired}
	case le.Uint16(b[offHeadLen:]) != headLen:
		return Head{}, corrupt(offHeadLen, "header: says that it has %d bytes, want %d", le.Uint16(b[offHeadLen:]), headLen)
	}
	h := Head{
		Kind:        Kind(b[offHeadKind]),
		Epoch:       Epoch(le.Uint64(b[offHeadEpoch:])),
		N:           le.Uint64(b[offHeadN:]),
		Nonce:       Nonce(b[offHeadNonce:offHeadDurable]),
		Durable:     le.Uint64(b[offHeadDurable:]),
		Cluster:     ClusterID(b[offHeadCluster:offHeadIncarn]),
		Incarnation: le.Uint64(b[offHeadIncarn:]),
		Applied:     le.Uint64(b[offHeadApplied:]),
		Time:        Micros(le.Uint64(b[offHeadTime:])),
		dirLen:      int(le.Uint32(b[offHeadDirLen:])),
		sum:         le.Uint32(b[offHeadSum:]),
	}
	offset, length := le.Uint64(b[offHeadDirOffset:]), le.Uint32(b[offHeadDirLen:])
	if offset < headLen || offset > ObjectBytesMax || length > ObjectBytesMax || offset+uint64(length)+footLen > ObjectBytesMax {
		return Head{}, corrupt(offHeadDirOffset, "header: directory of %d bytes at %d, an object has at most %d", length, offset, ObjectBytesMax)
	}
	h.dirOffset = int(offset)
	if _, ok := kindNames[h.Kind]; !ok {
		return Head{}, &VersionError{What: "fragment kind", Have: uint64(h.Kind), Know: uint64(KindIndex), Offset: offHeadKind}
	}
	return h, nil
}

// otherVersion tells a header that is too new from one whose version was
// damaged: the latter's checksum fits as soon as the version is put right. There
// never was a version 0, but zeros are what a lost page reads as.
func otherVersion(b [headLen]byte) error {
	have := b[offHeadVersion]
	if have == 0 {
		return corrupt(offHeadVersion, "header: version 0, want 1 or more")
	}
	b[offHeadVersion] = headVersion
	if le.Uint32(b[offHeadSum:]) == headerSum(b[:]) {
		return corrupt(offHeadVersion, "header: version %d, and the checksum of version %d", have, headVersion)
	}
	return &VersionError{What: "fragment", Have: uint64(have), Know: headVersion, Offset: offHeadVersion}
}

// footer encodes the end of an object. Its last checksum covers header,
// directory and footer; these hold the checksums of the slices, which hold
// those of the batches: one change anywhere shows.
func (h *Head) footer(head, dir []byte) []byte {
	b := make([]byte, footLen)
	le.PutUint64(b[offFootDirOffset:], uint64(h.dirOffset))
	le.PutUint32(b[offFootDirLen:], uint32(h.dirLen))
	le.PutUint32(b[offFootDirSum:], Checksum(dir))
	le.PutUint64(b[offFootEpoch:], uint64(h.Epoch))
	le.PutUint64(b[offFootN:], h.N)
	copy(b[offFootNonce:], h.Nonce[:])
	le.PutUint32(b[offFootHeadSum:], h.sum)
	b[offFootVersion] = headVersion
	b[offFootKind] = byte(h.Kind)
	copy(b[offFootMagic:], footMagic)
	le.PutUint32(b[offFootSum:], footerSum(head, dir, b))
	return b
}

func footerSum(head, dir, foot []byte) uint32 {
	return Checksum(head[:headLen], dir, foot[:offFootSum], foot[offFootVersion:])
}

// checkFooter checks the last bytes of an object against its header.
func (h Head) checkFooter(head, dir, foot []byte) error {
	at := h.dirOffset + h.dirLen
	want := h.footer(head, dir)
	if have := le.Uint32(foot[offFootDirSum:]); have != Checksum(dir) {
		return corrupt(h.dirOffset, "directory: checksum %08x, want %08x", have, Checksum(dir))
	}
	if !bytes.Equal(foot, want) {
		return corrupt(at, "footer: does not fit header and directory")
	}
	return nil
}
