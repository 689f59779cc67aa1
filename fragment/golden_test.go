package fragment

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenHead is the header of every golden object.
func goldenHead(k Kind, n uint64) Head {
	return Head{
		Kind: k, Epoch: 0x2a, N: n, Nonce: Nonce([]byte("nonce of a boot!")), Durable: n - min(n, 3),
		Cluster: ClusterID([]byte("cluster as UUID!")), Incarnation: 1, Applied: 77, Time: 1_790_000_000_123_456,
	}
}

// goldenBatches are those of the golden fragment, by log; all but the
// compressed ones encode to the same bytes for ever.
func goldenBatches(t testing.TB) map[LogID][]Batch {
	const time = 1_790_000_000_000_000
	stamp := func(log LogID, from LSN, at Micros, b Batch) Batch {
		b.Stamp(Stamp{Log: log, Attachment: Attachment(log) + 10, Epoch: 0x2a, From: from, Time: at})
		return b
	}
	meta := func(p ProducerID, first, lowest uint64, c Codec) BatchMeta {
		return BatchMeta{Producer: p, ProducerEpoch: 2, FirstSeq: first, LowestSeq: lowest, Generation: Generation(p & 1), Codec: c}
	}
	text := []byte(strings.Repeat("the same words again and again, ", 10))
	return map[LogID][]Batch{
		1: {
			stamp(1, 1, time, makeBatch(t, meta(11<<32|1, 1, 1, CodecNone), item{data: []byte("first")})),
			stamp(1, 2, time+5, makeBatch(t, meta(11<<32|1, 2, 1, CodecNone), item{data: []byte("second")}, item{},
				item{headers: []Header{{Key: "type", Value: []byte("order")}, {Key: "type"}, {Value: []byte{0, 0xff}}}, data: []byte("with headers")})),
		},
		2: {stamp(2, 100, time+2, makeBatch(t, meta(7, 40, 38, CodecS2), item{data: text}, item{data: text}))},
		900: {
			stamp(900, 1<<33, time+1, makeBatch(t, meta(900, 1, 1, CodecZstd), item{headers: []Header{{Key: "k", Value: []byte("v")}}, data: text})),
			stamp(900, 1<<33+1, time+1, makeBatch(t, meta(901, 1, 0, CodecNone), item{data: make([]byte, 300)})),
		},
	}
}

func goldenStates(t testing.TB) []LogState {
	anonymous := ProducerState{ID: 11<<32 | 1}
	named := ProducerState{ID: 7, Name: "billing"}
	for _, b := range goldenBatches(t)[1] {
		anonymous.Remember(b)
	}
	named.Remember(goldenBatches(t)[2][0])
	named.Batches[0].Sum = 0x12345678 // that of a compressed batch may change
	return []LogState{
		{Log: 1, Attachment: 11, End: 5, Time: anonymous.Time, Dropped: 10<<32 | 9, Producers: []ProducerState{{ID: 5, Name: "idle", Epoch: 4, Last: 9, Lowest: 10}, anonymous}},
		{Log: 2, Attachment: 12, End: 102, Time: named.Time, Producers: []ProducerState{named}},
		{Log: 900, Attachment: 910, End: 1<<33 + 2, Time: named.Time - 1},
	}
}

// goldens are the objects that testdata holds. The last checksums of the
// compressed batches depend on the version of the compressor.
func goldens(t testing.TB) map[string]Frozen {
	fragment := func(n uint64, d *Directory, logs ...LogID) Frozen {
		var b Builder
		for _, log := range logs {
			for _, batch := range goldenBatches(t)[log] {
				b.Add(log, batch)
			}
		}
		b.Layout(d)
		second := b.order[0].batches[1] // a slice this small would have no points
		d.Slices[0].Points = []Point{{LSN: second.From(), Offset: uint32(b.order[0].batches[0].Len())}}
		return b.Freeze(goldenHead(KindFragment, n), d)
	}
	ends := []End{{1, 11, 1}, {2, 12, 100}, {3, 13, 1 << 40}}
	sum := &Index{From: 1, To: 65, Logs: []IndexLog{
		{1, 11, []Row{{N: 3, Offset: 112, Length: 500, First: 1, Count: 4, TimeMin: 1000, TimeMax: 2000}, {N: 4, Offset: 112, Length: 99, First: 5, Count: 1, TimeMin: 2000, TimeMax: 2000}}},
		{2, 12, []Row{{N: 64, Offset: 612, Length: 1 << 20, First: 100, Count: 2, TimeMin: 1500, TimeMax: 1500}}},
	}, States: goldenStates(t)}
	lost := &Index{From: 1, To: 10, Logs: []IndexLog{
		{1, 11, []Row{{N: 1, Offset: 112, Length: 500, First: 1, Count: 4, TimeMin: 1000, TimeMax: 2000}, {N: 2, First: 5, Count: 1 << 32, Lost: true}, {N: 9, Offset: 112, Length: 99, First: 5 + 1<<32, Count: 1, TimeMin: 3000, TimeMax: 3000}}},
		{1, 15, []Row{{N: 9, Offset: 300, Length: 200, First: 6 + 1<<32, Count: 10, TimeMin: 2500, TimeMax: 2600}}},
	}, States: goldenStates(t)[:2]}
	attached := []Attached{
		{Log: 1, Attachment: 11, Name: "orders", First: 1, Trim: 1},
		{Log: 2, Attachment: 12, Name: "a/b.c_d-e", EntryBytesMax: 8 << 20, Generation: 3, First: 100, Trim: 50},
	}
	return map[string]Frozen{
		"fragment": fragment(3, &Directory{PrevEnds: ends, Attached: attached, States: goldenStates(t)}, 1, 2, 900),
		"sum":      fragment(64, &Directory{Index: sum}, 1),
		"opening":  {Object: Encode(goldenHead(KindOpening, 0), &Directory{Opening: &Opening{Node: "node-a-1f2e", Boot: 5, Window: 8}})},
		"seal":     {Object: Encode(goldenHead(KindSeal, 70), &Directory{Seal: &Seal{Node: "node-b-77aa", Boot: 300}})},
		"gap":      {Object: Encode(goldenHead(KindGap, 12), &Directory{Seal: &Seal{Node: "node-b-77aa", Boot: 300}})},
		"index":    {Object: Encode(goldenHead(KindIndex, 10), &Directory{Index: lost})},
	}
}

// TestGolden: the golden files decode to what they were made of, and encode to
// the same bytes. A compressor may change its mind: compressed batches are
// compared by their entries, and taken from the file.
func TestGolden(t *testing.T) {
	for name, want := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name)
			if *update {
				require.NoError(t, os.WriteFile(path+".hex", hexLines(object(want.Object)), 0o644))
				require.NoError(t, os.WriteFile(path+".txt", dump(t, want), 0o644))
			}
			golden := readHex(t, path+".hex")
			got, err := Decode(golden)
			require.NoError(t, err)
			for i, s := range got.Directory.Slices {
				require.Len(t, got.Batches[i], len(want.Batches[i]))
				for j, b := range got.Batches[i] {
					if b.Codec() == CodecNone {
						require.Equal(t, want.Batches[i][j].Bytes(), b.Bytes())
					}
					requireItems(t, walk(t, want.Batches[i][j]), walk(t, b))
				}
				require.Equal(t, s.End(), want.Directory.Slices[i].End())
			}
			again := Encode(got.Head, got.Directory)
			if name == "fragment" || name == "sum" {
				again = rebuild(got).Object
			}
			require.Equal(t, golden, object(again))
			if bytes.Equal(golden, object(want.Object)) {
				require.Empty(t, cmp.Diff(want.Directory, got.Directory))
				require.Empty(t, cmp.Diff(want.Head, got.Head, cmp.AllowUnexported(Head{})))
				text, err := os.ReadFile(path + ".txt")
				require.NoError(t, err)
				require.Equal(t, string(text), string(dump(t, got)))
			} else {
				require.Equal(t, "fragment", name, "only the golden fragment has compressed batches")
			}
		})
	}
}

// hexLines writes 32 bytes a line.
func hexLines(b []byte) []byte {
	var out bytes.Buffer
	for len(b) > 0 {
		n := min(32, len(b))
		fmt.Fprintf(&out, "%x\n", b[:n])
		b = b[n:]
	}
	return out.Bytes()
}

func readHex(t testing.TB, path string) []byte {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	b, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	require.NoError(t, err)
	return b
}

// dump is the readable form of an object.
func dump(t testing.TB, f Frozen) []byte {
	var out bytes.Buffer
	h, d := f.Head, f.Directory
	fmt.Fprintf(&out, "%s epoch=%s n=%d nonce=%s durable=%d cluster=%s incarnation=%d applied=%d time=%d\n",
		h.Kind, h.Epoch, h.N, h.Nonce, h.Durable, h.Cluster, h.Incarnation, h.Applied, h.Time)
	fmt.Fprintf(&out, "bytes=%d directory=%d+%d header checksum=%08x\n", f.Size, h.dirOffset, h.dirLen, h.sum)
	if d.Opening != nil {
		fmt.Fprintf(&out, "opening %+v\n", *d.Opening)
	}
	if d.Seal != nil {
		fmt.Fprintf(&out, "seal %+v\n", *d.Seal)
	}
	for i, s := range d.Slices {
		fmt.Fprintf(&out, "slice %+v\n", s)
		for _, b := range f.Batches[i] {
			fmt.Fprintf(&out, "  batch bytes=%d LSN=%d time=%d epoch=%d attachment=%d codec=%s count=%d raw=%d producer=%#x/%d seq=%d lowest=%d generation=%d payload=%08x\n",
				b.Len(), b.From(), b.Time(), b.Epoch(), b.Attachment(), b.Codec(), b.Count(), b.RawLen(), uint64(b.Producer()), b.ProducerEpoch(), b.FirstSeq(), b.LowestSeq(), b.Generation(), b.PayloadChecksum())
			for _, it := range walk(t, b) {
				fmt.Fprintf(&out, "    %q %q\n", it.headers, it.data)
			}
		}
	}
	for _, e := range d.PrevEnds {
		fmt.Fprintf(&out, "end before %+v\n", e)
	}
	for _, a := range d.Attached {
		fmt.Fprintf(&out, "attached %+v\n", a)
	}
	dumpStates(&out, d.States)
	if d.Index != nil {
		fmt.Fprintf(&out, "index [%d, %d)\n", d.Index.From, d.Index.To)
		for _, l := range d.Index.Logs {
			fmt.Fprintf(&out, "  log %d attachment %d\n", l.Log, l.Attachment)
			for _, r := range l.Rows {
				fmt.Fprintf(&out, "    %+v\n", r)
			}
		}
		dumpStates(&out, d.Index.States)
	}
	return out.Bytes()
}

func dumpStates(out *bytes.Buffer, states []LogState) {
	for _, s := range states {
		fmt.Fprintf(out, "state log=%d attachment=%d end=%d time=%d dropped=%#x\n", s.Log, s.Attachment, s.End, s.Time, uint64(s.Dropped))
		for _, p := range s.Producers {
			fmt.Fprintf(out, "  producer %#x %q epoch=%d last=%d lowest=%d time=%d\n", uint64(p.ID), p.Name, p.Epoch, p.Last, p.Lowest, p.Time)
			for _, b := range p.Batches {
				fmt.Fprintf(out, "    %+v\n", b)
			}
		}
	}
}
