package fragment

import (
	"bytes"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// decodedPerByte bounds what decoding takes per byte of a directory: the
// densest items are a 7-byte producer or an index row, 14 to 8 times as large
// in memory.
const decodedPerByte = 16

// fixedBytes is for errors, headers and the like.
const fixedBytes = 16 << 10

func section(tag byte, parts ...[]byte) []byte {
	return appendBytes([]byte{tag}, slices.Concat(parts...))
}

func number(n uint64) []byte { return appendUvarint(nil, n) }

// withDirectory makes an object without slices of an encoded directory, all
// checksums fitting.
func withDirectory(k Kind, n uint64, dir []byte) []byte {
	h := Head{Kind: k, N: n, Epoch: 1, dirOffset: headLen, dirLen: len(dir)}
	head := h.encode()
	return slices.Concat(head, dir, h.footer(head, dir))
}

// TestHostileCounts: a directory that claims more than it holds costs no more
// than a few times what it holds; nor does one that holds as many of the
// smallest items as can be.
func TestHostileCounts(t *testing.T) {
	const size = 256 << 10
	zeros := make([]byte, size)
	many := map[string][]byte{}
	for _, claim := range []uint64{1 << 60, 1<<64 - 1, size / 2, size / 7, size / 13} {
		for tag := byte(sectionOpening); tag <= sectionIndex; tag++ {
			many["zeros"] = section(tag, number(claim), zeros)
			many["nested"] = section(tag, number(3), bytes.Repeat(number(claim), size/10))
			many["tag"] = section(tag, bytes.Repeat([]byte{tag}, size))
			for name, dir := range many {
				checkAllocated(t, name, withDirectory(KindIndex, 0, dir))
			}
		}
	}
	var states, rows, points, ends []byte
	for i := range uint64(size / 8) {
		ends = append(ends, 1, 1, 1)
		states = append(states, slices.Concat(number(i+1), []byte{0, 0, 0, 0, 0})...)
		rows = append(rows, 0, 0, 1, 0, 0, 0, 0)
		points = append(points, 1, 1)
	}
	const n = size / 8
	producers := bytes.Repeat([]byte{0, 0, 0, 0, 0, 0, 0}, n)
	slice := slices.Concat([]byte{1, 1, 1}, number(ObjectBytesMax), []byte{0, 0, 0}, number(ObjectBytesMax), zeros[:4], number(n), points)
	for name, dir := range map[string][]byte{
		"ends":      section(sectionPrevEnds, number(n), ends),
		"states":    section(sectionStates, number(n), states),
		"producers": section(sectionStates, number(1), []byte{1, 1, 1, 0, 0}, number(n), producers),
		"rows":      section(sectionIndex, number(1), number(9), number(1), []byte{1, 1}, number(n), rows, number(0)),
		"points":    section(sectionSlices, number(1), slice),
		"attached":  section(sectionAttached, number(n), make([]byte, 7*n)),
		"batches":   section(sectionStates, number(1), []byte{1, 1, 1, 0, 0}, number(1), []byte{1, 0, 0, 0, 0, 0}, number(n), make([]byte, 8*n)),
		"unknown":   section(0x70, zeros),
		"sections":  bytes.Repeat([]byte{1, 0}, n),
	} {
		checkAllocated(t, name, withDirectory(KindIndex, 0, dir))
		checkAllocated(t, name, withDirectory(KindFragment, 1, dir))
	}
}

func checkAllocated(t testing.TB, name string, object []byte) {
	t.Helper()
	var err error
	used := allocated(func() { _, err = Decode(object) })
	if most := uint64(decodedPerByte*len(object) + fixedBytes); used > most {
		t.Errorf("%s: %d bytes allocated for %d, at most %d: %v", name, used, len(object), most, err)
	}
}

// TestHostileBatches: a batch costs its limits at most: its entries once
// decompressed, and nothing where they are a lie.
func TestHostileBatches(t *testing.T) {
	zeros := make([]byte, 8<<20)
	bomb := zstdFrames(t, nil, zeros)
	most := uint64(Limits{}.BatchBytesMax())
	OpenBatch(rawBatch(CodecZstd, 1, 50, bomb), Limits{}) // warm up
	for name, c := range map[string]struct {
		b    []byte
		most uint64
	}{
		"raw length over limit":   {rawBatch(CodecZstd, 1, 5<<20, bomb), 0},
		"bomb, honest limit":      {rawBatch(CodecZstd, 1, 4<<20, bomb), most},
		"bomb, small raw length":  {rawBatch(CodecZstd, 1, 50, bomb), 0},
		"bomb, size unsaid":       {rawBatch(CodecZstd, 1, 50, unsized(t, zeros)), 256 << 10},
		"s2, small raw length":    {rawBatch(CodecS2, 1, 50, number(1<<32-1)), 0},
		"raw length, no entries":  {rawBatch(CodecS2, 1, 4<<20, []byte{1}), 0},
		"empty headers":           {plain(250, bytes.Repeat(block(make([]byte, HeaderBytesMax)), 250)), 0},
		"claims 2⁶³ of data":      {plain(1, number(1<<64-2)), 0},
		"claims 2⁶³ of headers":   {plain(1, append([]byte{1}, number(1<<63)...)), 0},
		"1,000 batches of length": {bytes.Repeat([]byte(batchMagic), 1<<18), 0},
	} {
		var err error
		used := allocated(func() { _, err = OpenBatch(c.b, Limits{}) })
		require.LessOrEqual(t, used, c.most+fixedBytes, "%s: %v", name, err)
	}
}

// TestWalkAllocates nothing per entry, but two for one with headers.
func TestWalkAllocates(t *testing.T) {
	r := newRand(t)
	bare, some := randomItems(r, 500, 100), randomItems(r, 500, 100)
	for i := range bare {
		bare[i].headers = nil
		some[i].headers = []Header{{Key: "a key", Value: []byte("value")}}
	}
	for _, c := range []struct {
		items []item
		want  float64
	}{{bare, 0}, {some, 2}} {
		b := makeBatch(t, BatchMeta{Producer: 1, ProducerEpoch: 1, FirstSeq: 1}, c.items...)
		allocs := testing.AllocsPerRun(10, func() {
			entries, err := b.Entries()
			require.NoError(t, err)
			for ok := true; ok; _, ok = entries.Next() {
			}
		})
		require.LessOrEqual(t, allocs, c.want*float64(len(c.items))+1)
		require.LessOrEqual(t, testing.AllocsPerRun(10, func() { _ = b.CheckIntake(Limits{}) }), 1.0)
	}
}
