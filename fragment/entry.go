package fragment

import (
	"encoding/binary"
	"fmt"
)

// Header is one key and value of an entry. Keys may repeat; order is kept.
type Header struct {
	Key   string
	Value []byte
}

// Entry is one entry as it stands in a batch. Data and the values of Headers
// share the batch's bytes (or, where it was compressed, those that Entries
// made) and must not be changed.
type Entry struct {
	Headers []Header
	Data    []byte
}

// Entries walks the entries of a batch, in order. Not safe for concurrent use.
type Entries struct {
	raw   []byte // what is left
	total int
	left  int
	err   error
}

// Entries starts a walk over the entries, decompressing them if need be. The
// error is a *CorruptError.
func (b Batch) Entries() (Entries, error) {
	raw := b.b[b.headerLen():]
	if c := b.Codec(); c != CodecNone {
		var err error
		if raw, err = c.decompress(raw, b.RawLen()); err != nil {
			return Entries{}, err
		}
	}
	return Entries{raw: raw, total: len(raw), left: b.Count()}, nil
}

// Next returns the next entry; false at the end, or at damage: see Err.
func (e *Entries) Next() (Entry, bool) {
	data, block, n, ok := e.cut()
	if n == 0 {
		return Entry{Data: data}, ok
	}
	return Entry{Headers: decodeHeaders(block, n), Data: data}, true
}

// cut takes the next entry off: its data, and its block of n headers, which
// it checks.
func (e *Entries) cut() (data, block []byte, n int, ok bool) {
	if e.left == 0 || e.err != nil {
		if e.err == nil && len(e.raw) != 0 {
			e.fail("%d bytes follow the last entry", len(e.raw))
		}
		return nil, nil, 0, false
	}
	size, raw, ok := cutUvarint(e.raw)
	if !ok {
		e.fail("the length of an entry is cut off, with %d entries to come", e.left)
		return nil, nil, 0, false
	}
	if size&1 != 0 {
		if block, raw, ok = cutBytes(raw); !ok {
			e.fail("the headers of an entry are cut off")
			return nil, nil, 0, false
		}
		if n = e.checkHeaders(block); n == 0 {
			return nil, nil, 0, false
		}
	}
	if size >>= 1; size > uint64(len(raw)) {
		e.fail("an entry of %d bytes, %d are left", size, len(raw))
		return nil, nil, 0, false
	}
	e.raw = raw[size:]
	e.left--
	return raw[:size:size], block, n, true
}

// Err is what ended the walk early, if anything: a *CorruptError, or a
// *LimitError for headers over HeaderBytesMax. Offsets count from the start of
// the (decompressed) entries.
func (e *Entries) Err() error { return e.err }

func (e *Entries) fail(format string, args ...any) {
	e.err = corrupt(e.total-len(e.raw), "batch entries: %s", fmt.Sprintf(format, args...))
}

func cutUvarint(b []byte) (uint64, []byte, bool) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), b[1:], true
	}
	n, k := binary.Uvarint(b)
	if k <= 0 || k > 1 && b[k-1] == 0 { // cut off, too long, or not the shortest form
		return 0, nil, false
	}
	return n, b[k:], true
}

// checkHeaders returns the number of headers in a block: per header the
// lengths and bytes of key and value. At damage it fails and returns 0.
func (e *Entries) checkHeaders(block []byte) (n int) {
	if len(block) > HeaderBytesMax {
		e.err = &LimitError{What: "entry header bytes", Limit: HeaderBytesMax, Value: uint64(len(block))}
		return 0
	}
	for ok := true; len(block) > 0; n++ {
		if _, block, ok = cutBytes(block); ok {
			_, block, ok = cutBytes(block)
		}
		if !ok {
			e.fail("header %d of an entry is cut off", n)
			return 0
		}
	}
	if n == 0 {
		e.fail("an entry with an empty block of headers")
	}
	return n
}

// decodeHeaders decodes a block that checkHeaders has found n headers in.
func decodeHeaders(block []byte, n int) []Header {
	headers := make([]Header, n)
	for i := range headers {
		var key []byte
		key, block, _ = cutBytes(block)
		headers[i].Key = string(key)
		headers[i].Value, block, _ = cutBytes(block)
	}
	return headers
}

func cutBytes(b []byte) (part, rest []byte, ok bool) {
	n, b, ok := cutUvarint(b)
	if !ok || n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}

func appendBytes[T string | []byte](dst []byte, part T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(part))), part...)
}

// appendEntryHead encodes what stands before an entry's data: twice the data's
// length, plus 1 if headers follow; the block of headers.
func appendEntryHead(dst []byte, headers []Header, dataLen int) []byte {
	n := uint64(dataLen) << 1
	if len(headers) == 0 {
		return binary.AppendUvarint(dst, n)
	}
	dst = binary.AppendUvarint(dst, n|1)
	dst = binary.AppendUvarint(dst, uint64(headersLen(headers)))
	for _, h := range headers {
		dst = appendBytes(dst, h.Key)
		dst = appendBytes(dst, h.Value)
	}
	return dst
}

// headersLen is the size of the encoded headers, in bytes, without the length
// that precedes them.
func headersLen(headers []Header) int {
	n := 0
	for _, h := range headers {
		n += uvarintLen(len(h.Key)) + len(h.Key) + uvarintLen(len(h.Value)) + len(h.Value)
	}
	return n
}

func uvarintLen(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}
