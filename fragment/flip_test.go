package fragment

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireCorrupt: the error is a *CorruptError that names object, offset and
// reason.
func requireCorrupt(t testing.TB, err error, size int, format string, args ...any) {
	t.Helper()
	err = At(err, "chains/1/2", 0)
	c, ok := err.(*CorruptError)
	if !ok || c.Object != "chains/1/2" || c.Offset < 0 || c.Offset > int64(size) || c.Reason == "" {
		t.Fatalf("%s: error %v (%T), want a *CorruptError within %d bytes", fmt.Sprintf(format, args...), err, err, size)
	}
}

// flip runs check on b with each bit of [from, to) flipped in turn, every
// step-th one.
func flip(b []byte, from, to, step int, check func(bit int)) {
	for bit := from * 8; bit < to*8; bit += step {
		b[bit/8] ^= 1 << (bit % 8)
		check(bit)
		b[bit/8] ^= 1 << (bit % 8)
	}
}

// samples are small objects of each kind.
func samples(t testing.TB) map[string][]byte {
	objects := map[string][]byte{}
	for name, f := range goldens(t) {
		objects[name] = object(f.Object)
	}
	return objects
}

// TestEveryFlip: a single bit flipped anywhere in an object is damage, never
// something else, a newer version included.
func TestEveryFlip(t *testing.T) {
	for name, b := range samples(t) {
		_, err := Decode(b)
		require.NoError(t, err)
		flip(b, 0, len(b), 1, func(bit int) {
			_, err := Decode(b)
			requireCorrupt(t, err, len(b), "%s: bit %d", name, bit)
		})
	}
}

// TestEveryTruncation: at the end, and at the start.
func TestEveryTruncation(t *testing.T) {
	for name, b := range samples(t) {
		for n := range b {
			_, err := Decode(b[:n:n])
			requireCorrupt(t, err, len(b), "%s: %d bytes", name, n)
			if n > 0 {
				_, err = Decode(b[n:])
				requireCorrupt(t, err, len(b), "%s: from byte %d", name, n)
			}
		}
	}
}

func TestTrailingBytes(t *testing.T) {
	for name, b := range samples(t) {
		for n := 1; n < 200; n++ {
			_, err := Decode(append(slices.Clone(b), make([]byte, n)...))
			requireCorrupt(t, err, len(b), "%s: %d more", name, n)
		}
		_, err := Decode(append(slices.Clone(b), b...))
		requireCorrupt(t, err, len(b), "%s: twice", name)
		_, err = Decode(append(slices.Clone(b), b[len(b)-footLen:]...))
		requireCorrupt(t, err, len(b), "%s: two footers", name)
	}
}

// TestLargeFlips samples flips, truncations and runs of zeros in a fragment of
// about 2 MiB.
func TestLargeFlips(t *testing.T) {
	r := newRand(t)
	var b Builder
	for log := LogID(1); log <= 3; log++ {
		s := Stamp{Log: log, Attachment: 2, Epoch: 5, From: 1, Time: 1}
		for range 20 {
			batch := makeBatch(t, BatchMeta{Producer: 1, ProducerEpoch: 1, FirstSeq: 1, Codec: codecs[r.IntN(3)]}, randomItems(r, 100, 700)...)
			batch.Stamp(s)
			b.Add(log, batch)
			s.From = batch.To()
		}
	}
	f := freeze(&b, Head{Kind: KindFragment, N: 1, Epoch: 5}, &Directory{})
	all := object(f.Object)
	for range 300 {
		bit := r.IntN(len(all) * 8)
		flip(all, bit/8, bit/8+1, 8, func(bit int) {
			_, err := Decode(all)
			requireCorrupt(t, err, len(all), "bit %d", bit)
		})
		n := r.IntN(len(all))
		_, err := Decode(all[:n:n])
		requireCorrupt(t, err, len(all), "%d bytes", n)
		if lost := slices.Clone(all); true { // a page that reads as zeros
			from := r.IntN(len(all) - 1)
			clear(lost[from:min(len(all), from+4096)])
			if !bytes.Equal(lost, all) {
				_, err = Decode(lost)
				requireCorrupt(t, err, len(all), "zeros from %d", from)
			}
		}
	}
	_, err := Decode(all)
	require.NoError(t, err)
}

// TestZerosBehindMagic: a lost page that begins behind the magic is damage, and
// not of a version to come.
func TestZerosBehindMagic(t *testing.T) {
	var b Builder
	batch := makeBatch(t, BatchMeta{Producer: 1, ProducerEpoch: 1, FirstSeq: 1}, randomItems(newRand(t), 1, 100)...)
	batch.Stamp(Stamp{Log: 1, Attachment: 2, Epoch: 5, From: 1, Time: 1})
	b.Add(1, batch)
	all := object(freeze(&b, Head{Kind: KindFragment, N: 1, Epoch: 5}, &Directory{}).Object)
	for _, from := range []int{offHeadVersion, headLen + offBatchVersion} {
		lost := slices.Clone(all)
		clear(lost[from:min(len(lost), from+64)])
		_, err := Decode(lost)
		requireCorrupt(t, err, len(all), "zeros from %d", from)
	}
}
