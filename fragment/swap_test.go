package fragment

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// twin makes a fragment that differs from any other in what is asked only: all
// have the same length, layout, logs and counts.
func twin(t testing.TB, h Head, attachment Attachment, from LSN, data string) Frozen {
	var b Builder
	d := &Directory{PrevEnds: []End{{1, attachment, from}}}
	for log := LogID(1); log <= 2; log++ {
		for i := range LSN(3) {
			batch := makeBatch(t, BatchMeta{Producer: 1, ProducerEpoch: 1, FirstSeq: 1 + uint64(i)}, item{data: []byte(data)})
			batch.Stamp(Stamp{Log: log, Attachment: attachment, Epoch: h.Epoch, From: from + i, Time: 9})
			b.Add(log, batch)
		}
	}
	return freeze(&b, h, d)
}

// parts cuts an object into header, slices, directory and footer.
func parts(f Frozen) [4][]byte {
	b, h := object(f.Object), f.Head
	return [4][]byte{b[:headLen], b[headLen:h.dirOffset], b[h.dirOffset : h.dirOffset+h.dirLen], b[h.dirOffset+h.dirLen:]}
}

// TestSwappedParts: an object put together of parts of two that are as like as
// two objects can be is damage.
func TestSwappedParts(t *testing.T) {
	head := Head{Kind: KindFragment, Epoch: 5, N: 7}
	next := head
	next.N = 8
	foreign := head
	foreign.Cluster[0] = 1
	base := twin(t, head, 3, 10, "data")
	for name, other := range map[string]Frozen{
		"next object":       twin(t, next, 3, 13, "data"),
		"other cluster":     twin(t, foreign, 3, 10, "DATA"),
		"other attachment":  twin(t, head, 4, 10, "data"),
		"other data":        twin(t, head, 3, 10, "atad"),
		"same but a header": twin(t, foreign, 3, 10, "data"),
	} {
		a, b := parts(base), parts(other)
		same := make(map[string]bool)
		same[string(object(base.Object))], same[string(object(other.Object))] = true, true
		for choice := range 16 {
			var mixed []byte
			for i := range 4 {
				mixed = append(mixed, [2][]byte{a[i], b[i]}[choice>>i&1]...)
			}
			if _, err := Decode(mixed); !same[string(mixed)] {
				requireCorrupt(t, err, len(mixed), "%s: choice %04b", name, choice)
			}
		}
	}
}

// TestForeignSlice: a slice, or a batch, of another object or another place is
// damage, when it is read alone too.
func TestForeignSlice(t *testing.T) {
	head := Head{Kind: KindFragment, Epoch: 5, N: 7}
	base := twin(t, head, 3, 10, "data")
	all := object(base.Object)
	s := base.Directory.Slices[0]
	body := all[s.Offset : s.Offset+s.Length]
	row := Row{N: 7, Offset: s.Offset, Length: s.Length, First: s.First, Count: uint64(s.Count), TimeMin: s.TimeMin, TimeMax: s.TimeMax}
	one := int(s.Length) / 3
	otherEpoch := head
	otherEpoch.Epoch = 6
	slice := func(f Frozen, i int) []byte {
		s := f.Directory.Slices[i]
		return object(f.Object)[s.Offset : s.Offset+s.Length]
	}
	for name, b := range map[string][]byte{
		"other log":              slice(base, 1),
		"other epoch":            slice(twin(t, otherEpoch, 3, 10, "data"), 0),
		"other attachment":       slice(twin(t, head, 4, 10, "data"), 0),
		"other LSN":              slice(twin(t, head, 3, 11, "data"), 0),
		"first batch missing":    body[one:],
		"last batch missing":     body[:2*one],
		"middle batch missing":   slices.Concat(body[:one], body[2*one:]),
		"first batch repeated":   slices.Concat(body[:one], body[:one], body[2*one:]),
		"last batch twice":       slices.Concat(body, body[2*one:]),
		"batches in other order": slices.Concat(body[one:], body[:one]),
		"empty":                  nil,
		"one byte more":          append(slices.Clone(body), 0),
	} {
		_, err := s.Read(5, b)
		requireCorrupt(t, err, len(all), "slice: %s", name)
		_, err = ReadRow(1, 3, 5, row, b)
		requireCorrupt(t, err, len(all), "row: %s", name)
		fits, fitting := row, s
		fits.Length, fitting.Length = uint32(len(b)), uint32(len(b)) // the length alone does not tell
		_, err = fitting.Read(5, b)
		requireCorrupt(t, err, len(all), "slice of fitting length: %s", name)
		_, err = ReadRow(1, 3, 5, fits, b)
		requireCorrupt(t, err, len(all), "row of fitting length: %s", name)
	}
	row.Lost = true
	_, err := ReadRow(1, 3, 5, row, body)
	requireCorrupt(t, err, len(all), "lost row")
	row.Lost = false
	for name, other := range map[string]Row{
		"first": {TimeMin: row.TimeMin - 1, TimeMax: row.TimeMax}, "last": {TimeMin: row.TimeMin, TimeMax: row.TimeMax + 1},
	} {
		other.N, other.Offset, other.Length, other.First, other.Count = row.N, row.Offset, row.Length, row.First, row.Count
		_, err := ReadRow(1, 3, 5, other, body)
		requireCorrupt(t, err, len(all), "row of another cluster, whose %s batch has another time", name)
	}

	_, err = s.Read(5, slice(twin(t, head, 3, 10, "DATA"), 0))
	requireCorrupt(t, err, len(all), "other data of the same place")
	for _, read := range []func() ([]Batch, error){
		func() ([]Batch, error) { return s.Read(5, body) },
		func() ([]Batch, error) { return ReadRow(1, 3, 5, row, body) },
	} {
		batches, err := read()
		require.NoError(t, err)
		require.Len(t, batches, 3)
	}
	_, err = Slice{}.Read(5, nil)
	requireCorrupt(t, err, 0, "no slice")
}
