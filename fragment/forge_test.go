package fragment

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestForgedDirectory: a directory whose checksums all fit, but which does not
// fit header or batches, or breaks an order, is refused all the same.
func TestForgedDirectory(t *testing.T) {
	stamp := Stamp{Log: 1, Attachment: 3, Epoch: 0x2a, From: 10, Time: 50}
	for name, forge := range map[string]func(d *Directory){
		"as it was":             func(d *Directory) {},
		"count":                 func(d *Directory) { d.Slices[0].Count++ },
		"count 0":               func(d *Directory) { d.Slices[0].Count = 0 },
		"first":                 func(d *Directory) { d.Slices[0].First++ },
		"first 0":               func(d *Directory) { d.Slices[0].First = 0 },
		"LSN overflow":          func(d *Directory) { d.Slices[0].First = ^LSN(0) },
		"attachment":            func(d *Directory) { d.Slices[0].Attachment++ },
		"log":                   func(d *Directory) { d.Slices[1].Log++ },
		"same log twice":        func(d *Directory) { d.Slices[1].Log = 1 },
		"logs in other order":   func(d *Directory) { slices.Reverse(d.Slices) },
		"time min":              func(d *Directory) { d.Slices[0].TimeMin-- },
		"time max":              func(d *Directory) { d.Slices[0].TimeMax++ },
		"checksum":              func(d *Directory) { d.Slices[0].Sum++ },
		"offset":                func(d *Directory) { d.Slices[1].Offset++ },
		"offset in the header":  func(d *Directory) { d.Slices[0].Offset-- },
		"longer":                func(d *Directory) { d.Slices[1].Length++ },
		"shorter":               func(d *Directory) { d.Slices[1].Length-- },
		"border moved":          func(d *Directory) { d.Slices[0].Length--; d.Slices[1].Offset-- },
		"slice without bytes":   func(d *Directory) { d.Slices[1].Length = 0 },
		"a slice less":          func(d *Directory) { d.Slices = d.Slices[:1] },
		"no slices":             func(d *Directory) { d.Slices = nil },
		"point outside":         func(d *Directory) { d.Slices[0].Points = []Point{{LSN: 11, Offset: d.Slices[0].Length}} },
		"point at the start":    func(d *Directory) { d.Slices[0].Points = []Point{{LSN: 10, Offset: 0}} },
		"point at the end":      func(d *Directory) { d.Slices[0].Points = []Point{{LSN: 13, Offset: 5}} },
		"point between batches": func(d *Directory) { d.Slices[0].Points = []Point{{LSN: 11, Offset: 5}} },
		"points back":           func(d *Directory) { d.Slices[0].Points = []Point{{LSN: 12, Offset: 200}, {LSN: 11, Offset: 100}} },
		"opening":               func(d *Directory) { d.Opening = &Opening{} },
		"seal":                  func(d *Directory) { d.Seal = &Seal{} },
		"node too long":         func(d *Directory) { d.Opening = &Opening{Node: string(make([]byte, textBytesMax+1))} },
		"name too long":         func(d *Directory) { d.Attached = []Attached{{Log: 1, Name: string(make([]byte, nameBytesMax+1))}} },
		"entry limit too large": func(d *Directory) { d.Attached = []Attached{{Log: 1, EntryBytesMax: EntryBytesMax + 1}} },
		"states in other order": func(d *Directory) { d.States = []LogState{{Log: 2}, {Log: 1}} },
		"producers twice":       func(d *Directory) { d.States = []LogState{{Log: 2, Producers: []ProducerState{{ID: 1}, {ID: 1}}}} },
		"65 batches": func(d *Directory) {
			d.States = []LogState{{Log: 1, Producers: []ProducerState{{ID: 1, Batches: many(65)}}}}
		},
		"batches back": func(d *Directory) {
			d.States = []LogState{{Log: 1, Producers: []ProducerState{{ID: 1, Batches: []StoredBatch{{First: 5, Count: 2}, {First: 6, Count: 1}}}}}}
		},
		"batch of 1,001": func(d *Directory) {
			d.States = []LogState{{Log: 1, Producers: []ProducerState{{ID: 1, Batches: []StoredBatch{{First: 5, Count: 1001}}}}}}
		},
		"index backwards":      func(d *Directory) { d.Index = &Index{From: 5, To: 4} },
		"index, logs twice":    func(d *Directory) { d.Index = &Index{To: 9, Logs: []IndexLog{{Log: 1}, {Log: 1}}} },
		"row beyond the index": func(d *Directory) { d.Index = rows(Row{N: 9}) },
		"rows back":            func(d *Directory) { d.Index = rows(Row{N: 3}, Row{N: 2}) },
		"rows overlap":         func(d *Directory) { d.Index = rows(Row{N: 3, First: 5, Count: 2}, Row{N: 4, First: 6, Count: 2}) },
		"row overflows":        func(d *Directory) { d.Index = rows(Row{N: 3, First: 5, Count: 1<<64 - 1}) },
	} {
		var b Builder
		for log := LogID(1); log <= 2; log++ {
			s := stamp
			s.Log = log
			for range 3 {
				batch := makeBatch(t, BatchMeta{Producer: 1, ProducerEpoch: 1, FirstSeq: 1}, item{data: make([]byte, 50)})
				batch.Stamp(s)
				b.Add(log, batch)
				s.From, s.Time = batch.To(), s.Time+1
			}
		}
		d := &Directory{}
		b.Layout(d)
		forge(d)
		f := b.Freeze(goldenHead(KindFragment, 1), d)
		_, err := Decode(object(f.Object))
		if name == "as it was" {
			require.NoError(t, err)
			continue
		}
		requireCorrupt(t, err, f.Size, "%s", name)
	}
}

func many(n int) []StoredBatch {
	all := make([]StoredBatch, n)
	for i := range all {
		all[i].First, all[i].Count = uint64(i), 1
	}
	return all
}

func rows(r ...Row) *Index { return &Index{To: 9, Logs: []IndexLog{{Log: 1, Rows: r}}} }

// TestKinds: the parts of an object must fit its kind.
func TestKinds(t *testing.T) {
	opening, seal, index := &Directory{Opening: &Opening{}}, &Directory{Seal: &Seal{}}, &Directory{Index: &Index{To: 7}}
	for _, c := range []struct {
		kind Kind
		n    uint64
		d    *Directory
		ok   bool
	}{
		{KindFragment, 1, &Directory{}, true},
		{KindFragment, 0, &Directory{}, false},
		{KindFragment, 1, opening, false},
		{KindFragment, 1, seal, false},
		{KindOpening, 0, opening, true},
		{KindOpening, 1, opening, false},
		{KindOpening, 0, seal, false},
		{KindSeal, 1, seal, true},
		{KindSeal, 0, seal, false},
		{KindSeal, 1, &Directory{}, false},
		{KindGap, 1, seal, true},
		{KindGap, 0, seal, false},
		{KindGap, 1, index, false},
		{KindIndex, 7, index, true},
		{KindIndex, 6, index, false},
		{KindIndex, 7, seal, false},
	} {
		b := object(Encode(goldenHead(c.kind, c.n), c.d))
		_, err := Decode(b)
		if c.ok {
			require.NoError(t, err)
		} else {
			requireCorrupt(t, err, len(b), "%+v", c)
		}
	}
}

// TestNewerObject: what is really new is a *VersionError that says where, and
// what may be skipped is.
func TestNewerObject(t *testing.T) {
	seal := section(sectionSeal, []byte{0, 0})
	for name, c := range map[string]struct {
		b      []byte
		offset int64 // -1: no error
	}{
		"required":           {headBit(seal, offHeadRequired), offHeadRequired},
		"optional":           {headBit(seal, offHeadOptional), -1},
		"kind":               {withDirectory(99, 1, seal), offHeadKind},
		"required section":   {withDirectory(KindSeal, 1, slices.Concat(seal, section(0x88, []byte("?")))), headLen + 4},
		"optional section":   {withDirectory(KindSeal, 1, slices.Concat(section(0x01, []byte("?")), seal, section(0x7f, nil))), -1},
		"version":            {headBit(seal, offHeadVersion), offHeadVersion},
		"reserved in header": {headBit(seal, offHeadLen+2), -1},
	} {
		_, err := Decode(c.b)
		if c.offset < 0 {
			require.NoError(t, err, name)
			continue
		}
		v, ok := At(err, "x", 0).(*VersionError)
		require.True(t, ok, "%s: %v", name, err)
		require.Equal(t, c.offset, v.Offset, name)
	}
	for name, dir := range map[string][]byte{
		"tag 0":             {0x80, 0},
		"tag twice":         slices.Concat(seal, seal),
		"tag of both sorts": slices.Concat(section(0x02, nil), seal),
		"left over":         section(sectionSeal, []byte{0, 0, 0}),
		"cut off":           seal[:3],
		"empty list":        slices.Concat(seal, section(sectionStates, []byte{0})),
		"number too long":   section(sectionSeal, []byte{0, 0x80, 0}),
	} {
		_, err := Decode(withDirectory(KindSeal, 1, dir))
		requireCorrupt(t, err, 1000, "%s", name)
	}
	_, err := Decode(headBit(seal, offHeadLen))
	requireCorrupt(t, err, 1000, "header length")
}

// headBit makes a seal with a bit set in its header, all checksums fitting.
func headBit(dir []byte, at int) []byte {
	b := withDirectory(KindSeal, 1, dir)
	head, foot := b[:headLen], b[len(b)-footLen:]
	head[at] ^= 2
	le.PutUint32(head[offHeadSum:], headerSum(head))
	copy(foot[offFootHeadSum:], head[offHeadSum:offHeadCluster])
	le.PutUint32(foot[offFootSum:], footerSum(head, dir, foot))
	return b
}
