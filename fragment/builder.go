package fragment

import "bytes"

// BatchMeta is what a producer says of a batch beside its entries.
type BatchMeta struct {
	Producer      ProducerID
	ProducerEpoch ProducerEpoch
	FirstSeq      uint64
	LowestSeq     uint64 // at most FirstSeq
	Generation    Generation
	Codec         Codec
}

// BatchBuilder collects entries into a batch. The zero value is ready, with
// default limits. Not safe for concurrent use.
type BatchBuilder struct {
	Limits Limits

	buf   []byte // the header's room, then the entries; scratch
	sum   uint32 // checksum of the entries so far
	count int
}

// Len is the size of the batch so far, in bytes, before compression; 0
// without entries.
func (b *BatchBuilder) Len() int { return len(b.buf) }

// Count is the number of entries so far.
func (b *BatchBuilder) Count() int { return b.count }

// Fits reports whether an entry can still be added to what is there. An empty
// builder takes any entry that is within the limits.
func (b *BatchBuilder) Fits(headers []Header, data []byte) bool {
	if b.count == 0 {
		return true
	}
	return b.count < BatchEntriesMax && len(b.buf)+encodedLen(headers, data) <= b.Limits.BatchBytesMax()
}

func encodedLen(headers []Header, data []byte) int {
	n := uvarintLen(len(data)<<1) + len(data)
	if len(headers) > 0 {
		h := headersLen(headers)
		n += uvarintLen(h) + h
	}
	return n
}

// Add appends an entry, copying it. Errors: *LimitError; the builder is then
// as it was.
func (b *BatchBuilder) Add(headers []Header, data []byte) error {
	size := len(data)
	if len(headers) > 0 {
		h := headersLen(headers)
		if h > HeaderBytesMax {
			return &LimitError{What: "entry header bytes", Limit: HeaderBytesMax, Value: uint64(h)}
		}
		size += h
	}
	if most := b.Limits.entryBytesMax(); size > most {
		return &LimitError{What: "entry bytes", Limit: uint64(most), Value: uint64(size)}
	}
	if b.count == BatchEntriesMax {
		return &LimitError{What: "batch entries", Limit: BatchEntriesMax, Value: BatchEntriesMax + 1}
	}
	if n, most := len(b.buf)+encodedLen(headers, data), b.Limits.BatchBytesMax(); b.count > 0 && n > most {
		return &LimitError{What: "batch bytes", Limit: uint64(most), Value: uint64(n)}
	}
	b.reserve(encodedLen(headers, data))
	start := len(b.buf)
	b.buf = appendEntry(b.buf, headers, data)
	b.sum = checksumAdd(b.sum, b.buf[start:])
	b.count++
	return nil
}

// reserve makes room for n more bytes of entries.
func (b *BatchBuilder) reserve(n int) {
	old := b.buf
	if old != nil && cap(old)-len(old) >= n {
		return
	}
	b.buf = getScratch(max(len(old), batchHeaderLen) + n)
	if old == nil {
		b.buf = b.buf[:batchHeaderLen]
		clear(b.buf)
		return
	}
	b.buf = append(b.buf, old...)
	putScratch(old)
}

// Finish returns the batch, whose bytes are the caller's, and empties the
// builder. It needs at least one entry. A codec that does not make the
// entries smaller is not used.
func (b *BatchBuilder) Finish(m BatchMeta) Batch {
	buf, sum := bytes.Clone(b.buf), b.sum
	raw := len(buf) - batchHeaderLen
	codec := m.Codec
	if codec != CodecNone {
		packed := codec.compress(make([]byte, batchHeaderLen, batchHeaderLen+raw/2), buf[batchHeaderLen:])
		if len(packed) < len(buf) {
			buf, sum = packed, checksumAdd(0, packed[batchHeaderLen:])
		} else {
			codec = CodecNone
		}
	}
	copy(buf, batchMagic)
	buf[offBatchVersion] = batchVersion
	buf[offBatchCodec] = byte(codec)
	le.PutUint32(buf[offBatchLength:], uint32(len(buf)))
	le.PutUint16(buf[offBatchHeaderLen:], batchHeaderLen)
	le.PutUint32(buf[offBatchCount:], uint32(b.count))
	le.PutUint32(buf[offBatchRawLength:], uint32(raw))
	le.PutUint64(buf[offBatchProducer:], uint64(m.Producer))
	le.PutUint64(buf[offBatchProducerEpoch:], uint64(m.ProducerEpoch))
	le.PutUint64(buf[offBatchFirstSeq:], m.FirstSeq)
	le.PutUint64(buf[offBatchLowestSeq:], m.LowestSeq)
	le.PutUint64(buf[offBatchGeneration:], uint64(m.Generation))
	le.PutUint32(buf[offBatchPayloadSum:], payloadSumEnd(sum, buf, batchHeaderLen))
	putScratch(b.buf)
	*b = BatchBuilder{Limits: b.Limits}
	return Batch{buf}
}
