package fragment

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// storedBatches are stamped batches of log 4, one with each codec and one with
// an extension that a reader may skip.
func storedBatches(t testing.TB) map[string]Batch {
	text := []byte(strings.Repeat("words ", 20))
	batches := map[string]Batch{}
	for _, c := range codecs {
		batches[c.String()] = makeBatch(t, BatchMeta{Producer: 5, ProducerEpoch: 6, FirstSeq: 700, LowestSeq: 690, Generation: 2, Codec: c},
			item{data: text}, item{headers: []Header{{Key: "k", Value: text}}}, item{data: text})
	}
	batches["extended"] = Batch{sealBatch(extend(batches["none"].Bytes(), 0x21, 2, 'h', 'i'))}
	for _, b := range batches {
		b.Stamp(Stamp{Log: 4, Attachment: 8, Epoch: 9, From: 1000, Time: 1_790_000_000_000_000})
	}
	return batches
}

// extend puts extensions behind a batch's header.
func extend(b []byte, ext ...byte) []byte {
	return slices.Concat(b[:batchHeaderLen], ext, b[batchHeaderLen:])
}

// sealBatch makes the lengths and the payload checksum of a forged batch fit,
// as far as a batch can be found in it.
func sealBatch(b []byte) []byte {
	b = slices.Clone(b)
	if len(b) < batchHeaderLen {
		return b
	}
	le.PutUint32(b[offBatchLength:], uint32(len(b)))
	headerLen := int(le.Uint16(b[offBatchHeaderLen:]))
	if raw := int(le.Uint32(b[offBatchRawLength:])); b[offBatchCodec] == 0 && raw+headerLen < len(b) && len(b)-raw < 1<<16 {
		headerLen = len(b) - raw // what extend put in
		le.PutUint16(b[offBatchHeaderLen:], uint16(headerLen))
	}
	if headerLen >= batchHeaderLen && headerLen <= len(b) {
		le.PutUint32(b[offBatchPayloadSum:], payloadSum(b, headerLen))
	}
	return b
}

// TestBatchFlips: a batch fetched alone shows a flip of any bit, whatever
// bytes follow it, and whichever of its fields it hits.
func TestBatchFlips(t *testing.T) {
	for name, batch := range storedBatches(t) {
		for _, tail := range []int{0, 1 << 12} {
			b := append(slices.Clone(batch.Bytes()), make([]byte, tail)...)
			got, rest, err := ReadBatch(b, 4)
			require.NoError(t, err)
			require.Equal(t, batch.Bytes(), got.Bytes())
			require.Len(t, rest, tail)
			flip(b, 0, batch.Len(), 1, func(bit int) {
				_, _, err := ReadBatch(b, 4)
				requireCorrupt(t, err, batch.Len(), "%s: bit %d", name, bit)
			})
		}
		for n := range batch.Len() {
			_, _, err := ReadBatch(batch.Bytes()[:n:n], 4)
			requireCorrupt(t, err, batch.Len(), "%s: %d bytes", name, n)
		}
	}
}

// TestBatchOfAnotherLog, with an id that differs in one bit.
func TestBatchOfAnotherLog(t *testing.T) {
	for name, batch := range storedBatches(t) {
		for bit := range 64 {
			_, _, err := ReadBatch(batch.Bytes(), 4^1<<bit)
			requireCorrupt(t, err, batch.Len(), "%s: bit %d", name, bit)
			require.ErrorContains(t, err, "stamp checksum")
		}
	}
}

// TestStampsOfAnotherBatch: stamps belong to one payload.
func TestStampsOfAnotherBatch(t *testing.T) {
	batches := storedBatches(t)
	b := slices.Clone(batches["none"].Bytes())
	copy(b[offBatchStampSum:offBatchCount], batches["s2"].Bytes()[offBatchStampSum:offBatchCount])
	_, _, err := ReadBatch(b, 4)
	requireCorrupt(t, err, len(b), "stamps of another batch")
}

// TestUnstamped: a batch that was never stamped, or at an impossible place, is
// not a stored one.
func TestUnstamped(t *testing.T) {
	b := makeBatch(t, BatchMeta{Producer: 5, ProducerEpoch: 6, FirstSeq: 1}, item{}, item{})
	_, _, err := ReadBatch(b.Bytes(), 4)
	requireCorrupt(t, err, b.Len(), "unstamped")
	for _, from := range []LSN{0, ^LSN(0), ^LSN(0) - 1} {
		b.Stamp(Stamp{Log: 4, From: from})
		_, _, err = ReadBatch(b.Bytes(), 4)
		requireCorrupt(t, err, b.Len(), "LSN %d", from)
	}
}

// TestNewerBatch: what is really new is a *VersionError that says where.
func TestNewerBatch(t *testing.T) {
	stored := storedBatches(t)["none"].Bytes()
	for name, c := range map[string]struct {
		forge  func(b []byte) []byte
		offset int64
	}{
		"codec":     {func(b []byte) []byte { b[offBatchCodec] = 3; return sealBatch(b) }, offBatchCodec},
		"required":  {func(b []byte) []byte { b[offBatchRequired] = 0x10; return sealBatch(b) }, offBatchRequired},
		"extension": {func(b []byte) []byte { return sealBatch(extend(b, 0x01, 0, 0x81, 1, 0)) }, batchHeaderLen + 2},
		"version": {func(b []byte) []byte {
			b = sealBatch(b)
			b[offBatchVersion] = 2
			le.PutUint32(b[offBatchPayloadSum:], payloadSum(b, batchHeaderLen))
			return b
		}, offBatchVersion},
		"version of another layout": {func(b []byte) []byte {
			b[offBatchVersion] = 2
			clear(b[offBatchVersion+1:])
			return b
		}, offBatchVersion},
	} {
		b := c.forge(slices.Clone(stored))
		for _, err := range []error{
			func() error { _, _, err := ReadBatch(b, 4); return err }(),
			func() error { _, err := OpenBatch(b, Limits{}); return err }(),
		} {
			v, ok := At(err, "x", 1000).(*VersionError)
			require.True(t, ok, "%s: %v", name, err)
			require.Equal(t, c.offset+1000, v.Offset)
			require.Equal(t, "x", v.Object)
			require.ErrorContains(t, v, "x at byte ")
		}
	}
}

func TestBuilder(t *testing.T) {
	b := BatchBuilder{}
	require.True(t, b.Fits(nil, make([]byte, 1<<30)))
	requireLimit(t, b.Add(nil, make([]byte, EntryBytesDefault+1)), "entry bytes")
	requireLimit(t, b.Add([]Header{{Value: make([]byte, HeaderBytesMax)}}, nil), "entry header bytes")
	requireLimit(t, b.Add([]Header{{Key: "k"}}, make([]byte, EntryBytesDefault)), "entry bytes")
	require.Zero(t, b.Len())
	require.NoError(t, b.Add(nil, make([]byte, EntryBytesDefault)))
	for b.Fits(nil, make([]byte, EntryBytesDefault)) {
		require.NoError(t, b.Add(nil, make([]byte, EntryBytesDefault)))
	}
	before := b.Len()
	requireLimit(t, b.Add(nil, make([]byte, EntryBytesDefault)), "batch bytes")
	require.Equal(t, before, b.Len())
	_, err := OpenBatch(b.Finish(BatchMeta{Producer: 1, ProducerEpoch: 1, FirstSeq: 1}).Bytes(), Limits{})
	require.NoError(t, err)
	require.Zero(t, b.Len()+b.Count())

	for range BatchEntriesMax {
		require.NoError(t, b.Add(nil, nil))
	}
	require.False(t, b.Fits(nil, nil))
	requireLimit(t, b.Add(nil, nil), "batch entries")
}

func requireLimit(t testing.TB, err error, what string) {
	t.Helper()
	l, ok := err.(*LimitError)
	require.True(t, ok, "%v: want a *LimitError", err)
	require.Equal(t, what, l.What)
	require.Greater(t, l.Value, l.Limit)
}
