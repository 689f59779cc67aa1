package fragment

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// equalFrozen compares what two objects say, whatever parts they are in.
func equalFrozen(t testing.TB, got, want Frozen) {
	t.Helper()
	require.Empty(t, cmp.Diff(want.Head, got.Head, cmp.AllowUnexported(Head{})))
	require.Empty(t, cmp.Diff(want.Directory, got.Directory))
	require.Equal(t, object(want.Object), object(got.Object))
	require.Equal(t, want.Size, got.Size)
	require.Len(t, got.Batches, len(want.Batches))
	for i := range want.Batches {
		require.Equal(t, want.Batches[i], got.Batches[i])
	}
}

// TestRoundTrip: what Decode says of an encoded object is what was encoded,
// and encodes to the same bytes again.
func TestRoundTrip(t *testing.T) {
	r := newRand(t)
	for range 120 {
		want := randomObject(t, r)
		got, err := Decode(object(want.Object))
		require.NoError(t, err)
		equalFrozen(t, got, want)

		again := Encode(got.Head, got.Directory)
		if got.Head.Kind == KindFragment {
			again = rebuild(got).Object
		}
		require.Equal(t, object(want.Object), object(again))
	}
}

// rebuild makes a fragment anew of the batches of another.
func rebuild(f Frozen) Frozen {
	var b Builder
	for i, s := range f.Directory.Slices {
		for _, batch := range f.Batches[i] {
			b.Add(s.Log, batch)
		}
	}
	d := *f.Directory
	b.Layout(&d)
	for i, s := range f.Directory.Slices {
		d.Slices[i].Points = s.Points
	}
	return b.Freeze(f.Head, &d)
}

func TestRoundTripBatch(t *testing.T) {
	r := newRand(t)
	for range 300 {
		m, items := randomMeta(r), randomItems(r, 1+r.IntN(40), 200)
		batch := makeBatch(t, m, items...)
		if batch.Codec() == CodecNone {
			m.Codec = CodecNone
		}
		opened, err := OpenBatch(batch.Bytes(), Limits{})
		require.NoError(t, err)
		require.Equal(t, m, BatchMeta{
			Producer: opened.Producer(), ProducerEpoch: opened.ProducerEpoch(), FirstSeq: opened.FirstSeq(),
			LowestSeq: opened.LowestSeq(), Generation: opened.Generation(), Codec: opened.Codec(),
		})
		require.Equal(t, len(items), opened.Count())
		require.Equal(t, m.FirstSeq+uint64(len(items))-1, opened.LastSeq())
		requireItems(t, items, walk(t, opened))

		s := Stamp{Log: LogID(r.Uint64()), Attachment: 7, Epoch: 9, From: LSN(1 + r.Uint64N(1<<60)), Time: randomTime(r)}
		before := opened.PayloadChecksum()
		opened.Stamp(s)
		read, rest, err := ReadBatch(append(opened.Bytes(), 1, 2, 3), s.Log)
		require.NoError(t, err)
		require.Equal(t, []byte{1, 2, 3}, rest)
		require.Equal(t, s, Stamp{Log: s.Log, Attachment: read.Attachment(), Epoch: read.Epoch(), From: read.From(), Time: read.Time()})
		require.Equal(t, s.From+LSN(len(items)), read.To())
		require.Equal(t, before, read.PayloadChecksum())
		requireItems(t, items, walk(t, read))
	}
}

func requireItems(t testing.TB, want, got []item) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, string(want[i].data), string(got[i].data))
		require.Len(t, got[i].headers, len(want[i].headers))
		for j, h := range want[i].headers {
			require.Equal(t, h.Key, got[i].headers[j].Key)
			require.Equal(t, string(h.Value), string(got[i].headers[j].Value))
		}
	}
}

// TestPoints: every slice has a point about every 64 KiB, and a read can start
// at it.
func TestPoints(t *testing.T) {
	var b Builder
	s := Stamp{Log: 3, Attachment: 2, Epoch: 5, From: 1, Time: 1}
	for range 100 {
		batch := makeBatch(t, BatchMeta{Producer: 1, ProducerEpoch: 1, FirstSeq: 1}, item{data: make([]byte, 10_000)})
		batch.Stamp(s)
		b.Add(s.Log, batch)
		s.From = batch.To()
	}
	f := freeze(&b, Head{Kind: KindFragment, N: 1, Epoch: 5}, &Directory{})
	slice, all := f.Directory.Slices[0], object(f.Object)
	require.InDelta(t, int(slice.Length)/pointEvery, len(slice.Points), 2)
	for _, p := range slice.Points {
		batch, _, err := ReadBatch(all[slice.Offset+p.Offset:], 3)
		require.NoError(t, err)
		require.Equal(t, p.LSN, batch.From())
	}
	slice.Points[3].Offset++
	_, err := slice.Read(5, all[slice.Offset:slice.Offset+slice.Length])
	require.ErrorContains(t, err, "no batch starts at its point")
}

// TestIndexFind: the lookups of an index.
func TestIndexFind(t *testing.T) {
	x := Index{From: 1, To: 9, Logs: []IndexLog{{1, 4, []Row{{N: 1}}}, {1, 6, []Row{{N: 2}}}, {3, 5, []Row{{N: 3}}}}, States: []LogState{{Log: 1, End: 7}, {Log: 3}}}
	require.Equal(t, []Row{{N: 2}}, x.Find(1, 6))
	require.Nil(t, x.Find(1, 5))
	require.Nil(t, x.Find(2, 5))
	s, ok := x.State(1)
	require.True(t, ok)
	require.Equal(t, LSN(7), s.End)
	_, ok = x.State(2)
	require.False(t, ok)
}
