package fragment_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
)

// render says of a decoded object what decodeSecond says of its bytes.
func render(t *testing.T, f fragment.Frozen) string {
	var d strings.Builder
	h, dir := f.Head, f.Directory
	fmt.Fprintf(&d, "kind %d epoch %d n %d nonce %s durable %d cluster %s incarnation %d applied %d time %d\n",
		uint8(h.Kind), uint64(h.Epoch), h.N, h.Nonce, h.Durable, h.Cluster, h.Incarnation, h.Applied, h.Time)
	if o := dir.Opening; o != nil {
		fmt.Fprintf(&d, "opening %q boot %d window %d type %d\n", o.Node, o.Boot, o.Window, o.Type)
	}
	if s := dir.Seal; s != nil {
		fmt.Fprintf(&d, "seal %q boot %d\n", s.Node, s.Boot)
	}
	for _, s := range dir.Slices {
		points := [][2]uint64{}
		for _, p := range s.Points {
			points = append(points, [2]uint64{uint64(p.LSN), uint64(p.Offset)})
		}
		fmt.Fprintf(&d, "slice log %d attachment %d first %d count %d times %d %d bytes %d at %d points %v\n",
			s.Log, s.Attachment, s.First, s.Count, s.TimeMin, s.TimeMax, s.Length, s.Offset, points)
	}
	for _, e := range dir.PrevEnds {
		fmt.Fprintf(&d, "end log %d attachment %d lsn %d\n", e.Log, e.Attachment, e.LSN)
	}
	for _, a := range dir.Attached {
		fmt.Fprintf(&d, "attached log %d attachment %d name %q entry %d generation %d first %d trim %d\n", a.Log, a.Attachment, a.Name, a.EntryBytesMax, a.Generation, a.First, a.Trim)
	}
	renderStates(&d, dir.States)
	if x := dir.Index; x != nil {
		fmt.Fprintf(&d, "index %d %d\n", x.From, x.To)
		for _, l := range x.Logs {
			fmt.Fprintf(&d, "log %d attachment %d\n", l.Log, l.Attachment)
			for _, r := range l.Rows {
				fmt.Fprintf(&d, "row %d lost %t first %d count %d bytes %d at %d times %d %d\n", r.N, r.Lost, r.First, r.Count, r.Length, r.Offset, r.TimeMin, r.TimeMax)
			}
		}
		renderStates(&d, x.States)
	}
	for _, batches := range f.Batches {
		for _, b := range batches {
			fmt.Fprintf(&d, "batch lsn %d time %d count %d producer %d epoch %d seq %d lowest %d generation %d\n",
				b.From(), b.Time(), b.Count(), b.Producer(), b.ProducerEpoch(), b.FirstSeq(), b.LowestSeq(), b.Generation())
			renderEntries(t, &d, b)
		}
	}
	return d.String()
}

func renderStates(d *strings.Builder, states []fragment.LogState) {
	for _, s := range states {
		fmt.Fprintf(d, "state log %d attachment %d end %d time %d dropped %d\n", s.Log, s.Attachment, s.End, s.Time, s.Dropped)
		for _, p := range s.Producers {
			fmt.Fprintf(d, "producer %d name %q epoch %d last %d lowest %d time %d\n", p.ID, p.Name, p.Epoch, p.Last, p.Lowest, p.Time)
			for _, b := range p.Batches {
				fmt.Fprintf(d, "stored %d count %d from %d time %d sum %08x\n", b.First, b.Count, b.From, b.Time, b.Sum)
			}
		}
	}
}

func renderEntries(t *testing.T, d *strings.Builder, b fragment.Batch) {
	entries, err := b.Entries()
	require.NoError(t, err)
	for {
		e, ok := entries.Next()
		if !ok {
			require.NoError(t, entries.Err())
			return
		}
		fmt.Fprint(d, "entry")
		for _, h := range e.Headers {
			fmt.Fprintf(d, " %q=%q", h.Key, h.Value)
		}
		fmt.Fprintf(d, " %q\n", e.Data)
	}
}

// TestSecondDecoder: a decoder written from the document says the same of any
// object, and refuses a damaged one.
func TestSecondDecoder(t *testing.T) {
	r := fragment.NewRand(t)
	var objects [][]byte
	for _, f := range fragment.Goldens(t) {
		objects = append(objects, fragment.Join(f.Object))
	}
	for range 40 {
		objects = append(objects, fragment.Join(fragment.RandomObject(t, r).Object))
	}
	for _, b := range objects {
		f, err := fragment.Decode(b)
		require.NoError(t, err)
		text, err := decodeSecond(b)
		require.NoError(t, err)
		require.Equal(t, render(t, f), text)
		for range 20 {
			bit := r.IntN(8 * len(b))
			b[bit/8] ^= 1 << (bit % 8)
			_, err := decodeSecond(b)
			require.Error(t, err, "bit %d", bit)
			b[bit/8] ^= 1 << (bit % 8)
		}
	}
}
