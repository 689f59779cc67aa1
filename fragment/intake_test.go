package fragment

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// rawBatch is a batch whose entries are given as they are encoded, and which
// may lie about them.
func rawBatch(codec Codec, count, rawLen int, entries []byte) []byte {
	b := make([]byte, batchHeaderLen, batchHeaderLen+len(entries))
	copy(b, batchMagic)
	b[offBatchVersion], b[offBatchCodec] = batchVersion, byte(codec)
	le.PutUint16(b[offBatchHeaderLen:], batchHeaderLen)
	le.PutUint32(b[offBatchCount:], uint32(count))
	le.PutUint32(b[offBatchRawLength:], uint32(rawLen))
	for _, off := range []int{offBatchProducer, offBatchProducerEpoch, offBatchFirstSeq, offBatchLowestSeq} {
		b[off] = 1
	}
	return sealBatch(append(b, entries...))
}

func plain(count int, entries []byte) []byte {
	return rawBatch(CodecNone, count, len(entries), entries)
}

func zstdFrames(t testing.TB, opts []zstd.EOption, raw []byte) []byte {
	e, err := zstd.NewWriter(nil, append(opts, zstd.WithEncoderConcurrency(1))...)
	require.NoError(t, err)
	return e.EncodeAll(raw, nil)
}

// block is an entry with a block of headers and no data.
func block(headers []byte) []byte {
	return append(binary.AppendUvarint([]byte{1}, uint64(len(headers))), headers...)
}

// TestOpenBatch: what a node refuses, and what it says.
func TestOpenBatch(t *testing.T) {
	put := func(off int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[off] = v; return sealBatch(b) }
	}
	put32 := func(off int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte {
			le.PutUint32(b[off:], v)
			le.PutUint32(b[offBatchPayloadSum:], payloadSum(b, batchHeaderLen))
			return b
		}
	}
	put64 := func(off int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { le.PutUint64(b[off:], v); return sealBatch(b) }
	}
	is := func(b []byte) func([]byte) []byte { return func([]byte) []byte { return b } }
	zeros := make([]byte, 3<<20)
	corrupt := func(off int64, reason string) error { return &CorruptError{Offset: off, Reason: reason} }
	limit := func(what string) error { return &LimitError{What: what} }
	version := func(what string, off int64) error { return &VersionError{What: what, Offset: off} }
	nested := zstdFrames(t, nil, zstdFrames(t, nil, zeros))

	for name, c := range map[string]struct {
		forge func(b []byte) []byte // of a good one: "a", "bb"
		want  error                 // the reason is part of the real one
	}{
		"empty":                    {is(nil), corrupt(0, "0 bytes left")},
		"short":                    {is(make([]byte, 103)), corrupt(0, "103 bytes left")},
		"magic":                    {put(0, 'w'), corrupt(0, "magic")},
		"not a batch":              {is(bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 99)), corrupt(0, "magic")},
		"length over what is left": {put32(offBatchLength, 110), corrupt(offBatchLength, "length 110")},
		"length of 100 MB":         {put32(offBatchLength, 100<<20), corrupt(offBatchLength, "length 104857600")},
		"100 MB":                   {is(make([]byte, 100<<20)), limit("batch bytes")},
		"length under the header":  {put32(offBatchLength, 50), corrupt(offBatchHeaderLen, "header of 104 bytes in a batch of 50")},
		"header length under":      {func(b []byte) []byte { b[offBatchHeaderLen] = 103; return b }, corrupt(offBatchHeaderLen, "header of 103")},
		"header length over":       {func(b []byte) []byte { b[offBatchHeaderLen+1] = 1; return b }, corrupt(offBatchHeaderLen, "header of 360")},
		"reserved":                 {put(offBatchReserved, 1), corrupt(offBatchReserved, "reserved")},
		"trailing bytes":           {func(b []byte) []byte { return append(b, 1, 2) }, corrupt(109, "2 bytes follow")},
		"payload checksum":         {func(b []byte) []byte { b[offBatchPayloadSum] ^= 1; return b }, corrupt(offBatchPayloadSum, "payload checksum")},
		"an entry's byte":          {func(b []byte) []byte { b[108] ^= 1; return b }, corrupt(offBatchPayloadSum, "payload checksum")},
		"stamp checksum":           {put(offBatchStampSum, 1), corrupt(offBatchStampSum, "stamps")},
		"LSN":                      {put64(offBatchLSN, 7), corrupt(offBatchLSN, "stamps")},
		"time":                     {put64(offBatchTime, 7), corrupt(offBatchTime, "stamps")},
		"epoch":                    {put64(offBatchEpoch, 7), corrupt(offBatchEpoch, "stamps")},
		"attachment":               {put64(offBatchAttachment, 1<<56), corrupt(offBatchAttachment+7, "stamps")},
		"no entries":               {put32(offBatchCount, 0), corrupt(offBatchCount, "0 entries")},
		"1,001 entries":            {is(plain(1001, make([]byte, 1001))), corrupt(offBatchCount, "1001 entries")},
		"2³²-1 entries":            {put32(offBatchCount, 1<<32-1), corrupt(offBatchCount, "entries")},
		"more entries than said":   {put32(offBatchCount, 1), corrupt(2, "3 bytes follow the last entry")},
		"fewer entries than said":  {put32(offBatchCount, 3), corrupt(5, "with 1 entries to come")},
		"no producer":              {put64(offBatchProducer, 0), corrupt(offBatchProducer, "no producer")},
		"no producer epoch":        {put64(offBatchProducerEpoch, 0), corrupt(offBatchProducer, "producer epoch")},
		"sequence 0":               {put64(offBatchFirstSeq, 0), corrupt(offBatchFirstSeq, "sequences start at 1")},
		"sequence overflow":        {put64(offBatchFirstSeq, 1<<64-1), corrupt(offBatchFirstSeq, "sequences")},
		"lowest above first":       {put64(offBatchLowestSeq, 2), corrupt(offBatchLowestSeq, "lowest sequence 2")},
		"required feature":         {put(offBatchRequired, 1), version("batch feature bits", offBatchRequired)},
		"required feature, flip":   {func(b []byte) []byte { b[offBatchRequired] = 1; return b }, corrupt(offBatchRequired, "does not fit")},
		"codec, flip":              {func(b []byte) []byte { b[offBatchCodec] = 4; return b }, corrupt(offBatchCodec, "does not fit")},
		"version, flip":            {func(b []byte) []byte { b[offBatchVersion] = 3; return b }, corrupt(offBatchVersion, "does not fit")},
		"version 0":                {put(offBatchVersion, 0), corrupt(offBatchVersion, "version 0")},
		"zeros behind the magic":   {func(b []byte) []byte { clear(b[4:]); return b }, corrupt(offBatchVersion, "version 0")},
		"codec 3":                  {put(offBatchCodec, 3), version("batch codec", offBatchCodec)},
		"extension to know":        {func(b []byte) []byte { return sealBatch(extend(b, 0x80, 0)) }, version("batch extension", 104)},
		"extension cut off":        {func(b []byte) []byte { return sealBatch(extend(b, 1, 1, 0, 2, 9, 9)) }, corrupt(107, "cut off")},
		"extension of one byte":    {func(b []byte) []byte { return sealBatch(extend(b, 1)) }, corrupt(104, "cut off")},
		"raw length, no codec":     {put32(offBatchRawLength, 4), corrupt(offBatchRawLength, "4 bytes of entries")},
		"raw length over all":      {put32(offBatchRawLength, 1<<31), corrupt(offBatchRawLength, "entries")},
		"raw length over limit":    {is(rawBatch(CodecS2, 1, 5<<20, s2.Encode(nil, make([]byte, 5<<20)))), limit("batch bytes, decompressed")},
		"entry over the limit":     {is(plain(1, append(binary.AppendUvarint(nil, 2*(EntryBytesDefault+1)), make([]byte, EntryBytesDefault+1)...))), limit("entry bytes")},
		"entry over, compressed":   {is(rawBatch(CodecS2, 1, 4+EntryBytesDefault+1, s2.Encode(nil, append(binary.AppendUvarint(nil, 2*(EntryBytesDefault+1)), make([]byte, EntryBytesDefault+1)...)))), limit("entry bytes")},
		"entry over what is left":  {is(plain(1, []byte{6, 1, 2})), corrupt(0, "an entry of 3 bytes, 2 are left")},
		"entry of 2⁶³ bytes":       {is(plain(1, binary.AppendUvarint(nil, 1<<64-2))), corrupt(0, "bytes, 0 are left")},
		"length not the shortest":  {is(plain(1, []byte{0x80, 0})), corrupt(0, "length of an entry")},
		"length of 11 bytes":       {is(plain(1, bytes.Repeat([]byte{0xff}, 11))), corrupt(0, "length of an entry")},
		"headers over 16 KiB":      {is(plain(1, block(append([]byte{0, 0x80, 0x80, 1}, zeros[:HeaderBytesMax]...)))), limit("entry header bytes")},
		"headers empty":            {is(plain(1, block(nil))), corrupt(0, "empty block")},
		"headers cut off":          {is(plain(1, []byte{1, 9, 0, 0})), corrupt(0, "headers of an entry are cut off")},
		"header without value":     {is(plain(1, block([]byte{1, 'k'}))), corrupt(0, "header 0 of an entry")},
		"second header cut off":    {is(plain(1, block([]byte{1, 'k', 0, 2, 'k'}))), corrupt(0, "header 1 of an entry")},
		"s2, garbage":              {is(rawBatch(CodecS2, 1, 50, zeros[:20])), corrupt(0, "header says 50")},
		"s2, damaged":              {is(rawBatch(CodecS2, 1, 50, append([]byte{50}, zeros[:20]...))), corrupt(0, "s2")},
		"s2, wrong length":         {is(rawBatch(CodecS2, 1, 51, s2.Encode(nil, zeros[:50]))), corrupt(0, "they say 50 bytes, the header says 51")},
		"s2, says 4 GB":            {is(rawBatch(CodecS2, 1, 50, binary.AppendUvarint(nil, 1<<32-1))), corrupt(0, "they say")},
		"zstd, garbage":            {is(rawBatch(CodecZstd, 1, 50, zeros[:20])), corrupt(0, "zstd")},
		"zstd, nothing":            {is(rawBatch(CodecZstd, 1, 50, nil)), corrupt(0, "0 bytes decompressed, want 50")},
		"zstd, more than said":     {is(rawBatch(CodecZstd, 1, 50, zstdFrames(t, nil, zeros))), corrupt(0, "zstd")},
		"zstd, more, size unsaid":  {is(rawBatch(CodecZstd, 1, 50, unsized(t, zeros))), corrupt(0, "zstd")},
		"zstd, less than said":     {is(rawBatch(CodecZstd, 1, 51, zstdFrames(t, nil, zeros[:50]))), corrupt(0, "50 bytes decompressed, want 51")},
		"zstd, two frames, more":   {is(rawBatch(CodecZstd, 1, 50, slices.Concat(zstdFrames(t, nil, zeros[:50]), zstdFrames(t, nil, zeros)))), corrupt(0, "zstd")},
		"zstd, wrapped twice":      {is(rawBatch(CodecZstd, 1, 50, nested)), corrupt(0, "zstd")},
	} {
		t.Run(name, func(t *testing.T) {
			good := plain(2, []byte{2, 'a', 4, 'b', 'b'})
			_, err := OpenBatch(good, Limits{})
			require.NoError(t, err)
			_, err = OpenBatch(c.forge(good), Limits{})
			switch want := c.want.(type) {
			case *CorruptError:
				require.IsType(t, want, err, "%v", err)
				require.ErrorIs(t, err, ErrCorrupt)
				require.ErrorContains(t, err, want.Reason)
				require.Equal(t, want.Offset, err.(*CorruptError).Offset, "%v", err)
			case *LimitError:
				requireLimit(t, err, want.What)
			case *VersionError:
				require.IsType(t, want, err, "%v", err)
				require.Equal(t, want.What, err.(*VersionError).What)
				require.Equal(t, want.Offset, err.(*VersionError).Offset)
			}
		})
	}
}

// unsized is a zstd frame that does not say how much it holds.
func unsized(t testing.TB, raw []byte) []byte {
	var out bytes.Buffer
	e, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	require.NoError(t, err)
	_, err = e.Write(raw)
	require.NoError(t, err)
	require.NoError(t, e.Close())
	return out.Bytes()
}

// TestOpenBatchTakes: what looks odd, and is allowed.
func TestOpenBatchTakes(t *testing.T) {
	raw := append(binary.AppendUvarint(nil, 2*1000), make([]byte, 1000)...)
	big := append(binary.AppendUvarint(nil, 2*EntryBytesMax), make([]byte, EntryBytesMax)...)
	for name, b := range map[string][]byte{
		"optional feature":     func() []byte { b := plain(1, []byte{0}); b[offBatchOptional] = 0xff; return sealBatch(b) }(),
		"optional extensions":  sealBatch(extend(plain(1, []byte{0}), 0, 0, 0x7f, 3, 1, 2, 3, 0x7f, 0)),
		"1,000 empty entries":  plain(BatchEntriesMax, make([]byte, BatchEntriesMax)),
		"headers of 16 KiB":    plain(1, block(append(append([]byte{0}, binary.AppendUvarint(nil, HeaderBytesMax-4)...), make([]byte, HeaderBytesMax-4)...))),
		"zstd, size unsaid":    rawBatch(CodecZstd, 1, len(raw), unsized(t, raw)),
		"zstd, two frames":     rawBatch(CodecZstd, 1, len(raw), slices.Concat(zstdFrames(t, nil, raw[:9]), zstdFrames(t, nil, raw[9:]))),
		"zstd, a large window": rawBatch(CodecZstd, 1, len(raw), zstdFrames(t, []zstd.EOption{zstd.WithWindowSize(64 << 20)}, raw)),
		"the largest entry":    plain(1, big),
		"the largest, s2":      rawBatch(CodecS2, 1, len(big), s2.Encode(nil, big)),
		"the last sequence": func() []byte {
			b := plain(1, []byte{0})
			le.PutUint64(b[offBatchFirstSeq:], 1<<64-1)
			return sealBatch(b)
		}(),
	} {
		_, err := OpenBatch(b, Limits{EntryBytesMax: EntryBytesMax})
		require.NoError(t, err, name)
	}
	require.Equal(t, 4<<20, Limits{}.BatchBytesMax())
	require.Equal(t, BatchBytesMax, Limits{EntryBytesMax: 1 << 40}.BatchBytesMax())
}
