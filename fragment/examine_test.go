package fragment

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// examined makes a fragment of two logs and three batches.
func examined(t *testing.T) []byte {
	var b Builder
	for i, log := range []LogID{1, 1, 2} {
		batch := makeBatch(t, BatchMeta{Producer: 1, ProducerEpoch: 1, FirstSeq: uint64(i) + 1, LowestSeq: 1}, item{data: []byte("entry")})
		from := LSN(i + 1)
		if log == 2 {
			from = 1
		}
		batch.Stamp(Stamp{Log: log, Attachment: Attachment(log), Epoch: 3, From: from, Time: 7})
		b.Add(log, batch)
	}
	d := &Directory{PrevEnds: []End{{Log: 1, Attachment: 1, LSN: 1}}}
	return object(freeze(&b, Head{Kind: KindFragment, Epoch: 3, N: 5}, d).Object)
}

func TestExamineWhole(t *testing.T) {
	b := examined(t)
	x := Examine(b)
	require.NoError(t, x.Err)
	require.Equal(t, KindFragment, x.Head.Kind)
	require.Equal(t, uint64(5), x.Footer.N)
	require.Len(t, x.Directory.Slices, 2)
	require.Len(t, x.Checks, 6)
	for _, c := range x.Checks {
		require.True(t, c.OK(), c.What)
	}
	n := 0
	for _, s := range x.Directory.Slices {
		for _, batch := range ExamineBatches(s.Log, b[s.Offset:s.Offset+s.Length], int(s.Offset)) {
			require.NoError(t, batch.Err)
			require.Len(t, batch.Checks, 2)
			n++
		}
	}
	require.Equal(t, 3, n)
	require.Len(t, ExamineBatches(0, b[x.Body[0]:x.Body[1]], x.Body[0]), 3)
}

// TestExamineDamaged: whatever is damaged, Examine says so as Decode does,
// shows what it can, and does not panic; a flip shows in a checksum, or in
// the footer or a batch that is none any more.
func TestExamineDamaged(t *testing.T) {
	whole := examined(t)
	all := func(b []byte) (x Examination, bad bool) {
		x = Examine(b)
		for _, c := range x.Checks {
			bad = bad || !c.OK()
		}
		batches := ExamineBatches(0, b[x.Body[0]:x.Body[1]], x.Body[0])
		if x.Directory != nil {
			batches = nil
			for _, s := range x.Directory.Slices {
				if end := int(s.Offset) + int(s.Length); end <= len(b) {
					batches = append(batches, ExamineBatches(s.Log, b[s.Offset:end], int(s.Offset))...)
				}
			}
		}
		for _, batch := range batches {
			bad = bad || batch.Err != nil
		}
		return x, bad
	}
	for n := range whole {
		x, _ := all(whole[:n])
		require.Error(t, x.Err, "cut at %d", n)
	}
	for i := range len(whole) * 8 {
		b := bytes.Clone(whole)
		b[i/8] ^= 1 << (i % 8)
		x, bad := all(b)
		require.Error(t, x.Err, "bit %d", i)
		if !bad && x.Head != nil && x.Footer != nil {
			t.Errorf("bit %d of byte %d: %v, but nothing shows it", i%8, i/8, x.Err)
		}
	}
}
