package fragment

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// The layout of a batch header; docs/format.md, "Batch". All numbers are
// little-endian.
const (
	batchMagic     = "WPDb"
	batchVersion   = 1
	batchHeaderLen = 104 // without extensions

	offBatchVersion   = 4
	offBatchCodec     = 5
	offBatchRequired  = 6 // feature bits that a reader must know
	offBatchOptional  = 7 // feature bits that a reader may ignore
	offBatchLength    = 8
	offBatchHeaderLen = 12
	offBatchReserved  = 14
	batchPrefixLen    = 16 // the first part of what the payload checksum covers

	offBatchPayloadSum = 16
	offBatchStampSum   = 20

	offBatchLSN        = 24 // stamped by the node, up to offBatchCount
	offBatchTime       = 32
	offBatchEpoch      = 40
	offBatchAttachment = 48

	offBatchCount         = 56 // the second part of what the payload checksum covers
	offBatchRawLength     = 60
	offBatchProducer      = 64
	offBatchProducerEpoch = 72
	offBatchFirstSeq      = 80
	offBatchLowestSeq     = 88
	offBatchGeneration    = 96
)

var le = binary.LittleEndian

// Batch is one encoded batch: 1..BatchEntriesMax entries of one log from one
// producer, framed and checksummed once. The bytes travel unchanged from
// producer to reader, but for the fields that Stamp fills in.
//
// A Batch was made by a BatchBuilder, or was checked by OpenBatch or
// ReadBatch; its accessors never fail. The zero Batch is empty.
type Batch struct{ b []byte }

// Bytes returns the encoded batch. It must not be changed.
func (b Batch) Bytes() []byte { return b.b }

// Len is the encoded size in bytes.
func (b Batch) Len() int { return len(b.b) }

// Count is the number of entries.
func (b Batch) Count() int { return int(le.Uint32(b.b[offBatchCount:])) }

// Codec is how the entries are compressed.
func (b Batch) Codec() Codec { return Codec(b.b[offBatchCodec]) }

// RawLen is the size of the entries before compression, in bytes.
func (b Batch) RawLen() int { return int(le.Uint32(b.b[offBatchRawLength:])) }

// Producer is the id of the producer that made the batch.
func (b Batch) Producer() ProducerID { return ProducerID(le.Uint64(b.b[offBatchProducer:])) }

// ProducerEpoch is the producer's life that made the batch.
func (b Batch) ProducerEpoch() ProducerEpoch {
	return ProducerEpoch(le.Uint64(b.b[offBatchProducerEpoch:]))
}

// FirstSeq is the producer's sequence of the first entry.
func (b Batch) FirstSeq() uint64 { return le.Uint64(b.b[offBatchFirstSeq:]) }

// LastSeq is the producer's sequence of the last entry.
func (b Batch) LastSeq() uint64 { return b.FirstSeq() + uint64(b.Count()) - 1 }

// LowestSeq is the lowest sequence whose answer the producer still waited for
// when it made the batch; no batch below it is ever sent again.
func (b Batch) LowestSeq() uint64 { return le.Uint64(b.b[offBatchLowestSeq:]) }

// Generation is the generation that the producer holds, 0 for none.
func (b Batch) Generation() Generation { return Generation(le.Uint64(b.b[offBatchGeneration:])) }

// PayloadChecksum covers all that the server leaves alone, and so names the
// content of a batch among those of one producer.
func (b Batch) PayloadChecksum() uint32 { return le.Uint32(b.b[offBatchPayloadSum:]) }

// From is the LSN of the first entry; 0 before Stamp.
func (b Batch) From() LSN { return LSN(le.Uint64(b.b[offBatchLSN:])) }

// To is the LSN after the last entry.
func (b Batch) To() LSN { return b.From() + LSN(b.Count()) }

// Time is when the batch was appended, by the clock of the log's writer; it
// never decreases within a log.
func (b Batch) Time() Micros { return Micros(le.Uint64(b.b[offBatchTime:])) }

// Epoch is the chain epoch that the batch was stored under; 0 before Stamp.
func (b Batch) Epoch() Epoch { return Epoch(le.Uint64(b.b[offBatchEpoch:])) }

// Attachment is the stay of the log on the chain; 0 before Stamp.
func (b Batch) Attachment() Attachment { return Attachment(le.Uint64(b.b[offBatchAttachment:])) }

func (b Batch) headerLen() int { return int(le.Uint16(b.b[offBatchHeaderLen:])) }

// Header returns the header, extensions included. A slice's checksum is over
// the headers of its batches, which hold the checksums of all the rest.
func (b Batch) header() []byte { return b.b[:b.headerLen()] }

// Stamp says where a batch was put in its log.
type Stamp struct {
	Log        LogID
	Attachment Attachment
	Epoch      Epoch
	From       LSN
	Time       Micros
}

// Stamp fills in what the node decides, in place, and the second checksum,
// which covers it together with the log's id and the payload checksum. The
// caller must be the only user of the bytes.
func (b Batch) Stamp(s Stamp) {
	le.PutUint64(b.b[offBatchLSN:], uint64(s.From))
	le.PutUint64(b.b[offBatchTime:], uint64(s.Time))
	le.PutUint64(b.b[offBatchEpoch:], uint64(s.Epoch))
	le.PutUint64(b.b[offBatchAttachment:], uint64(s.Attachment))
	le.PutUint32(b.b[offBatchStampSum:], b.stampSum(s.Log))
}

func (b Batch) stampSum(log LogID) uint32 {
	sum := checksumUint64(uint64(log))
	sum = checksumAdd(sum, b.b[offBatchPayloadSum:offBatchStampSum])
	return checksumAdd(sum, b.b[offBatchLSN:offBatchCount])
}

// payloadSum covers the entries, then the prefix, then the producer's fields:
// the entries come first so that a builder can sum them up as they come.
func payloadSum(b []byte, headerLen int) uint32 {
	return payloadSumEnd(checksumAdd(0, b[headerLen:]), b, headerLen)
}

func payloadSumEnd(entries uint32, b []byte, headerLen int) uint32 {
	sum := checksumAdd(entries, b[:batchPrefixLen])
	return checksumAdd(sum, b[offBatchCount:headerLen])
}

// SplitBatch frames the first batch of b, checking its header but none of its
// checksums, and returns what follows it. The batch shares b's bytes.
func SplitBatch(b []byte) (Batch, []byte, error) {
	n, err := checkBatchHeader(b)
	if err != nil {
		return Batch{}, nil, err
	}
	return Batch{b[:n:n]}, b[n:], nil
}

// ReadBatch frames the first stored batch of b, as SplitBatch does, and checks
// both its checksums: that it is whole, and that it is a batch of this log.
func ReadBatch(b []byte, log LogID) (Batch, []byte, error) {
	batch, rest, err := SplitBatch(b)
	if err != nil {
		return Batch{}, nil, believeBatch(err, b)
	}
	return batch, rest, batch.Verify(log)
}

// believeBatch tells a batch that is too new from a damaged one: it turns a
// *VersionError into a *CorruptError if the payload checksum fits version 1
// where another version is claimed, or does not fit where a feature of version
// 1 is (no feature changes what the checksum covers).
func believeBatch(err error, b []byte) error {
	v, ok := errors.AsType[*VersionError](err)
	if !ok {
		return err
	}
	length, headerLen := uint64(le.Uint32(b[offBatchLength:])), uint64(le.Uint16(b[offBatchHeaderLen:]))
	if headerLen < batchHeaderLen || headerLen > length || length > uint64(len(b)) || length > BatchBytesMax {
		return err
	}
	prefix := [batchPrefixLen]byte(b)
	prefix[offBatchVersion] = batchVersion
	sum := Checksum(b[headerLen:length], prefix[:], b[offBatchCount:headerLen])
	fits, known := sum == le.Uint32(b[offBatchPayloadSum:]), b[offBatchVersion] == batchVersion
	if fits == known {
		return err
	}
	return corrupt(int(v.Offset), "batch: %s %d, and a payload checksum that it does not fit", v.What, v.Have)
}

// Verify checks both checksums of a stored batch of the log.
func (b Batch) Verify(log LogID) error {
	if err := b.verifyPayload(); err != nil {
		return err
	}
	if have, want := le.Uint32(b.b[offBatchStampSum:]), b.stampSum(log); have != want {
		return corrupt(offBatchStampSum, "batch: stamp checksum %08x, want %08x for log %d", have, want, log)
	}
	if b.From() == 0 || b.To() < b.From() {
		return corrupt(offBatchLSN, "batch: LSN %d with %d entries", b.From(), b.Count())
	}
	return nil
}

func (b Batch) verifyPayload() error {
	have, want := b.PayloadChecksum(), payloadSum(b.b, b.headerLen())
	if have != want {
		return corrupt(offBatchPayloadSum, "batch: payload checksum %08x, want %08x", have, want)
	}
	return nil
}

// checkBatchHeader checks the framing of the batch at the start of b, and
// returns its length.
func checkBatchHeader(b []byte) (int, error) {
	if len(b) < batchHeaderLen {
		return 0, corrupt(0, "batch: %d bytes left, a header has %d", len(b), batchHeaderLen)
	}
	if !bytes.Equal(b[:4], []byte(batchMagic)) {
		return 0, corrupt(0, "batch: magic %q, want %q", b[:4], batchMagic)
	}
	switch v := b[offBatchVersion]; v {
	case batchVersion:
	case 0: // there never was one, but zeros are what a lost page reads as
		return 0, corrupt(offBatchVersion, "batch: version 0, want 1 or more")
	default:
		return 0, &VersionError{What: "batch", Have: uint64(v), Know: batchVersion, Offset: offBatchVersion}
	}
	headerLen, length := int(le.Uint16(b[offBatchHeaderLen:])), int(le.Uint32(b[offBatchLength:]))
	switch count, raw := le.Uint32(b[offBatchCount:]), le.Uint32(b[offBatchRawLength:]); {
	case length > BatchBytesMax || length > len(b):
		return 0, corrupt(offBatchLength, "batch: length %d, %d bytes left, at most %d", length, len(b), BatchBytesMax)
	case headerLen < batchHeaderLen || headerLen > length:
		return 0, corrupt(offBatchHeaderLen, "batch: header of %d bytes in a batch of %d", headerLen, length)
	case le.Uint16(b[offBatchReserved:]) != 0:
		return 0, corrupt(offBatchReserved, "batch: reserved bytes are not zero")
	case count == 0 || count > BatchEntriesMax:
		return 0, corrupt(offBatchCount, "batch: %d entries, want 1 to %d", count, BatchEntriesMax)
	case raw > BatchBytesMax || Codec(b[offBatchCodec]) == CodecNone && int(raw) != length-headerLen:
		return 0, corrupt(offBatchRawLength, "batch: %d bytes of entries in a batch of %d", raw, length)
	}
	return length, checkFeatures(b[:headerLen])
}

// checkFeatures comes after the framing, which no feature of a version
// changes: so believeBatch can rely on it.
func checkFeatures(header []byte) error {
	if f := header[offBatchRequired]; f != 0 {
		return &VersionError{What: "batch feature bits", Have: uint64(f), Know: 0, Offset: offBatchRequired}
	}
	if c := Codec(header[offBatchCodec]); !c.known() {
		return &VersionError{What: "batch codec", Have: uint64(c), Know: uint64(codecLast), Offset: offBatchCodec}
	}
	return checkExtensions(header)
}

// checkExtensions checks the optional fields behind the fixed header: a type
// (the highest bit: a reader must know it), a length, that many bytes.
func checkExtensions(header []byte) error {
	for ext := header[batchHeaderLen:]; len(ext) > 0; {
		at := len(header) - len(ext)
		if len(ext) < 2 || len(ext)-2 < int(ext[1]) {
			return corrupt(at, "batch: an extension of the header is cut off")
		}
		if ext[0]&0x80 != 0 {
			return &VersionError{What: "batch extension", Have: uint64(ext[0]), Know: 0x7f, Offset: int64(at)}
		}
		ext = ext[2+int(ext[1]):]
	}
	return nil
}

// OpenBatch checks a batch that comes from outside, once, against the limits
// of its log: framing, payload checksum, counts, codec, and every entry. The
// stamped fields must still be zero. On success the batch shares b's bytes.
// Errors: *CorruptError, *VersionError, *LimitError.
func OpenBatch(b []byte, limits Limits) (Batch, error) {
	if most := limits.BatchBytesMax(); len(b) > most {
		return Batch{}, &LimitError{What: "batch bytes", Limit: uint64(most), Value: uint64(len(b))}
	}
	batch, rest, err := SplitBatch(b)
	switch {
	case err != nil:
		return Batch{}, believeBatch(err, b)
	case len(rest) != 0:
		return Batch{}, corrupt(batch.Len(), "batch: %d bytes follow it", len(rest))
	case batch.RawLen() > limits.BatchBytesMax():
		return Batch{}, &LimitError{What: "batch bytes, decompressed", Limit: uint64(limits.BatchBytesMax()), Value: uint64(batch.RawLen())}
	}
	if err := batch.verifyPayload(); err != nil {
		return Batch{}, err
	}
	for i, x := range b[offBatchStampSum:offBatchCount] {
		if x != 0 {
			return Batch{}, corrupt(offBatchStampSum+i, "batch: a field that the node stamps is not zero")
		}
	}
	return batch, batch.CheckIntake(limits)
}

// CheckIntake checks what only the producer of a batch can get wrong: its
// numbers and its entries, against the limits of the log.
func (b Batch) CheckIntake(limits Limits) error {
	first := b.FirstSeq()
	switch {
	case b.Producer() == 0 || b.ProducerEpoch() == 0:
		return corrupt(offBatchProducer, "batch: no producer, or no producer epoch")
	case first == 0 || b.LastSeq() < first:
		return corrupt(offBatchFirstSeq, "batch: sequences start at 1; first is %d, with %d entries", first, b.Count())
	case b.LowestSeq() > first:
		return corrupt(offBatchLowestSeq, "batch: lowest sequence %d still waited for is above its own first, %d", b.LowestSeq(), first)
	}
	entries, err := b.Entries()
	if err != nil {
		return err
	}
	for {
		data, headers, _, ok := entries.cut()
		if !ok {
			return entries.Err()
		}
		if n, most := len(data)+len(headers), limits.entryBytesMax(); n > most {
			return &LimitError{What: "entry bytes", Limit: uint64(most), Value: uint64(n)}
		}
	}
}

// FindBatch returns the first place in b where a batch may begin, -1 if there
// is none. It is for finding what is whole among what is damaged.
func FindBatch(b []byte) int { return bytes.Index(b, []byte(batchMagic)) }

// Unstamped returns a copy of the batch as it was before Stamp. It is what a
// producer sends again; the stamped bytes may still be in use elsewhere.
func (b Batch) Unstamped() Batch {
	c := bytes.Clone(b.b)
	clear(c[offBatchStampSum:offBatchCount])
	return Batch{c}
}

// Unstamp takes back what Stamp filled in, for a batch that was not put
// anywhere after all. The caller must be the only user of the bytes.
func (b Batch) Unstamp() { clear(b.b[offBatchStampSum:offBatchCount]) }
