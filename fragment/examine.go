package fragment

import (
	"bytes"
	"fmt"
)

// FootLen is the size of an object's footer, in bytes.
const FootLen = footLen

// Check is one checksum: as it stands, and as it should be.
type Check struct {
	What       string
	Offset     int // of the checksum, in the object
	Have, Want uint32
}

// OK reports whether it fits.
func (c Check) OK() bool { return c.Have == c.Want }

// Footer is what the last bytes of an object say.
type Footer struct {
	Kind                    Kind
	Version                 uint8
	Epoch                   Epoch
	N                       uint64
	Nonce                   Nonce
	DirOffset               uint64
	DirLen                  uint32
	DirSum, HeadSum, AllSum uint32
}

// ReadFooter reads the footer at the end of b; false if there is none. No
// checksum is checked: it is for learning what a damaged object once was.
func ReadFooter(b []byte) (Footer, bool) {
	if len(b) < footLen {
		return Footer{}, false
	}
	b = b[len(b)-footLen:]
	if !bytes.Equal(b[offFootMagic:], []byte(footMagic)) {
		return Footer{}, false
	}
	return Footer{
		Kind: Kind(b[offFootKind]), Version: b[offFootVersion],
		Epoch: Epoch(le.Uint64(b[offFootEpoch:])), N: le.Uint64(b[offFootN:]), Nonce: Nonce(b[offFootNonce:offFootHeadSum]),
		DirOffset: le.Uint64(b[offFootDirOffset:]), DirLen: le.Uint32(b[offFootDirLen:]),
		DirSum: le.Uint32(b[offFootDirSum:]), HeadSum: le.Uint32(b[offFootHeadSum:]), AllSum: le.Uint32(b[offFootSum:]),
	}, true
}

// Examination is what can be made out of an object, damaged or not.
type Examination struct {
	Err       error      // what Decode says: nil if the object is whole
	Head      *Head      // as it stands, its checksum may not fit; nil if there is none
	Footer    *Footer    // as it stands; nil if there is none
	Directory *Directory // as it stands; nil if it can't be decoded
	Body      [2]int     // where the batches lie, as far as is known
	Checks    []Check    // of header, directory, whole object and slices
}

// Examine decodes what it can of an object and holds every checksum against
// its bytes; batches are for ExamineBatches. Unlike Decode, it also shows what
// does not check: nothing may be concluded from that.
func Examine(b []byte) Examination {
	var x Examination
	_, x.Err = Decode(b)
	if len(b) >= headLen {
		x.Head = looseHead(b[:headLen])
		x.Checks = append(x.Checks, Check{"header", offHeadSum, le.Uint32(b[offHeadSum:]), headerSum(b)})
	}
	x.Body = [2]int{min(headLen, len(b)), len(b)}
	f, ok := ReadFooter(b)
	if ok {
		x.Footer = &f
	}
	offset, length, ok := x.directoryRange(len(b))
	if !ok {
		return x
	}
	x.Body[1] = offset
	dir := b[offset : offset+length]
	x.Directory, _ = decodeDirectory(dir, offset)
	if x.Footer != nil {
		foot := len(b) - footLen
		x.Checks = append(x.Checks,
			Check{"directory", foot + offFootDirSum, f.DirSum, Checksum(dir)},
			Check{"header, as the footer repeats it", foot + offFootHeadSum, f.HeadSum, headerSum(b)},
			Check{"header, directory and footer", foot + offFootSum, f.AllSum, footerSum(b, dir, b[foot:])},
		)
	}
	x.checkSlices(b)
	return x
}

// directoryRange finds the directory by header or footer, whichever names a
// place that there is.
func (x *Examination) directoryRange(size int) (offset, length int, ok bool) {
	fits := func(offset, length uint64) bool {
		return offset >= headLen && offset <= uint64(size) && length <= uint64(size) && offset+length+footLen == uint64(size)
	}
	if h := x.Head; h != nil && fits(uint64(h.dirOffset), uint64(h.dirLen)) {
		return h.dirOffset, h.dirLen, true
	}
	if f := x.Footer; f != nil && fits(f.DirOffset, uint64(f.DirLen)) {
		return int(f.DirOffset), int(f.DirLen), true
	}
	return 0, 0, false
}

// looseHead decodes a header whatever its checksum says; nil if it is none.
func looseHead(b []byte) *Head {
	have := le.Uint32(b[offHeadSum:])
	b = bytes.Clone(b)
	le.PutUint32(b[offHeadSum:], headerSum(b))
	h, err := DecodeHead(b)
	if err != nil {
		return nil
	}
	h.sum = have
	return &h
}

func (x *Examination) checkSlices(b []byte) {
	if x.Directory == nil {
		return
	}
	for _, s := range x.Directory.Slices {
		if uint64(s.Offset)+uint64(s.Length) > uint64(x.Body[1]) {
			continue
		}
		var sum uint32
		for rest := b[s.Offset : s.Offset+s.Length]; len(rest) > 0; {
			batch, after, err := SplitBatch(rest)
			if err != nil {
				break
			}
			sum, rest = checksumAdd(sum, batch.header()), after
		}
		x.Checks = append(x.Checks, Check{fmt.Sprintf("slice of log %d: headers of its batches", s.Log), x.Body[1], s.Sum, sum})
	}
}

// ExaminedBatch is a batch as it stands, or a run of bytes that is none.
type ExaminedBatch struct {
	Offset, Length int   // in the object
	Batch          Batch // empty if the bytes are no batch
	Checks         []Check
	Err            error // nil if it is whole and follows the batch before
}

// ExamineBatches splits the bytes of a slice, which lie at offset base in
// their object, into batches, and goes on at the next one behind damage. log 0
// means that it is not known whose they are: then stamps are not checked, nor
// whether they follow one another.
func ExamineBatches(log LogID, b []byte, base int) []ExaminedBatch {
	var all []ExaminedBatch
	next := LSN(0)
	for at := 0; at < len(b); {
		batch, _, err := SplitBatch(b[at:])
		if err != nil {
			skip := FindBatch(b[at+1:]) + 1
			if skip == 0 {
				skip = len(b) - at
			}
			all = append(all, ExaminedBatch{Offset: base + at, Length: skip, Err: At(err, "", int64(base+at))})
			at += skip
			continue
		}
		x := ExaminedBatch{Offset: base + at, Length: batch.Len(), Batch: batch}
		x.Checks = append(x.Checks, Check{"payload", base + at + offBatchPayloadSum, batch.PayloadChecksum(), payloadSum(batch.b, batch.headerLen())})
		x.Err = batch.verifyPayload()
		if log != 0 {
			x.Checks = append(x.Checks, Check{"stamp", base + at + offBatchStampSum, le.Uint32(batch.b[offBatchStampSum:]), batch.stampSum(log)})
			x.Err = batch.Verify(log)
			if x.Err == nil && next != 0 && batch.From() != next {
				x.Err = corrupt(offBatchLSN, "batch: LSN %d, %d comes next", batch.From(), next)
			}
			next = batch.To()
		}
		if x.Err != nil {
			x.Err = At(x.Err, "", int64(base+at))
		}
		all = append(all, x)
		at += batch.Len()
	}
	return all
}
