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

	head   []byte   // of an entry, while it is added
	chunks [][]byte // the header's room, then the entries; scratch
	size   int      // bytes in chunks
	sum    uint32   // checksum of the entries so far
	count  int
}

// Len is the size of the batch so far, in bytes, before compression; 0
// without entries.
func (b *BatchBuilder) Len() int { return b.size }

// Count is the number of entries so far.
func (b *BatchBuilder) Count() int { return b.count }

// Fits reports whether an entry can still be added to what is there. An empty
// builder takes any entry that is within the limits.
func (b *BatchBuilder) Fits(headers []Header, data []byte) bool {
	if b.count == 0 {
		return true
	}
	return b.count < BatchEntriesMax && b.size+encodedLen(headers, data) <= b.Limits.BatchBytesMax()
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
	if n, most := b.size+encodedLen(headers, data), b.Limits.BatchBytesMax(); b.count > 0 && n > most {
		return &LimitError{What: "batch bytes", Limit: uint64(most), Value: uint64(n)}
	}
	if b.count == 0 {
		first := getScratch(0)[:batchHeaderLen]
		clear(first)
		b.chunks, b.size = append(b.chunks, first), batchHeaderLen
	}
	b.head = appendEntryHead(b.head[:0], headers, len(data))
	b.append(b.head)
	b.append(data)
	b.count++
	return nil
}

// append appends bytes.
func (b *BatchBuilder) append(p []byte) {
	for len(p) > 0 {
		last := &b.chunks[len(b.chunks)-1]
		if len(*last) == cap(*last) {
			b.chunks = append(b.chunks, getScratch(b.size))
			continue
		}
		n := min(len(p), cap(*last)-len(*last))
		*last = append(*last, p[:n]...)
		b.sum = checksumAdd(b.sum, p[:n])
		b.size += n
		p = p[n:]
	}
}

// Finish returns the batch, whose bytes are the caller's, and empties the
// builder. It needs at least one entry. A codec that does not make the
// entries smaller is not used.
func (b *BatchBuilder) Finish(m BatchMeta) Batch {
	buf, sum := bytes.Join(b.chunks, nil), b.sum
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
	for _, c := range b.chunks {
		putScratch(c)
	}
	*b = BatchBuilder{Limits: b.Limits}
	return Batch{buf}
}
