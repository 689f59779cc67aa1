package fragment

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random objects; 0 picks one")

// newRand returns a source whose seed a failing test prints, and takes back
// by -seed.
func newRand(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again with: -seed=%d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 1))
}

// item is an entry to be encoded.
type item struct {
	headers []Header
	data    []byte
}

func makeBatch(t testing.TB, m BatchMeta, items ...item) Batch {
	t.Helper()
	b := BatchBuilder{Limits: Limits{EntryBytesMax: EntryBytesMax}}
	for _, it := range items {
		require.NoError(t, b.Add(it.headers, it.data))
	}
	return b.Finish(m)
}

func walk(t testing.TB, b Batch) []item {
	t.Helper()
	entries, err := b.Entries()
	require.NoError(t, err)
	var items []item
	for {
		e, ok := entries.Next()
		if !ok {
			require.NoError(t, entries.Err())
			return items
		}
		items = append(items, item{e.Headers, e.Data})
	}
}

// object joins the parts of an object.
func object(o Object) []byte { return bytes.Join(o.Parts, nil) }

func freeze(b *Builder, h Head, d *Directory) Frozen {
	b.Layout(d)
	return b.Freeze(h, d)
}

var codecs = []Codec{CodecNone, CodecS2, CodecZstd}

func randomItems(r *rand.Rand, n, sizeMax int) []item {
	items := make([]item, n)
	for i := range items {
		data := make([]byte, r.IntN(sizeMax+1))
		for j := range data {
			data[j] = byte('a' + r.IntN(3))
		}
		items[i].data = data
		for range max(0, r.IntN(6)-3) {
			items[i].headers = append(items[i].headers, Header{
				Key: fmt.Sprint("key", r.IntN(3))[:r.IntN(5)], Value: data[:r.IntN(min(len(data), 4000)+1)],
			})
		}
	}
	return items
}

func randomMeta(r *rand.Rand) BatchMeta {
	first := 1 + r.Uint64N(1<<r.IntN(60))
	return BatchMeta{
		Producer: ProducerID(1 + r.Uint64N(1<<40)), ProducerEpoch: ProducerEpoch(1 + r.Uint64N(9)),
		FirstSeq: first, LowestSeq: 1 + r.Uint64N(first), Generation: Generation(r.Uint64N(3)),
		Codec: codecs[r.IntN(len(codecs))],
	}
}

func randomHead(r *rand.Rand, k Kind, n uint64) Head {
	h := Head{
		Kind: k, N: n, Epoch: Epoch(1 + r.Uint64N(1<<40)), Durable: r.Uint64N(n + 1), Incarnation: r.Uint64N(4),
		Applied: r.Uint64(), Time: randomTime(r),
	}
	le.PutUint64(h.Nonce[:], r.Uint64())
	le.PutUint64(h.Cluster[8:], r.Uint64())
	return h
}

func randomTime(r *rand.Rand) Micros { return Micros(r.Int64N(1<<52)) - 1<<40 }

// randomFragment makes a fragment of some logs with batches of up to entryMax
// bytes an entry.
func randomFragment(t testing.TB, r *rand.Rand, entryMax int) Frozen {
	h := randomHead(r, KindFragment, 1+r.Uint64N(1000))
	var b Builder
	d := &Directory{States: randomStates(r)}
	for range 1 + r.IntN(4) {
		s := Stamp{Log: LogID(1 + r.Uint64N(1<<r.IntN(40))), Attachment: Attachment(1 + r.Uint64N(100)), Epoch: h.Epoch, From: LSN(1 + r.Uint64N(1<<r.IntN(62))), Time: randomTime(r)}
		if b.slices[s.Log] != nil {
			continue
		}
		for range 1 + r.IntN(5) {
			batch := makeBatch(t, randomMeta(r), randomItems(r, 1+r.IntN(6), entryMax)...)
			batch.Stamp(s)
			b.Add(s.Log, batch)
			s.From, s.Time = batch.To(), s.Time+Micros(r.IntN(3))
		}
		d.PrevEnds = append(d.PrevEnds, End{s.Log, s.Attachment, s.From})
		d.Attached = append(d.Attached, Attached{
			Log: s.Log, Attachment: s.Attachment, Name: fmt.Sprint("log-", s.Log), EntryBytesMax: uint32(r.IntN(EntryBytesMax)),
			Generation: Generation(r.Uint64()), First: s.From, Trim: LSN(r.Uint64()),
		})
	}
	if r.IntN(3) == 0 {
		d.Index = randomIndex(r, h.N+1)
	}
	return freeze(&b, h, d)
}

func randomStates(r *rand.Rand) []LogState {
	var states []LogState
	for id := range r.IntN(4) {
		s := LogState{Log: LogID(id + 1), Attachment: Attachment(r.Uint64()), End: LSN(r.Uint64()), Time: randomTime(r), Dropped: ProducerID(r.Uint64())}
		for p := range r.IntN(4) {
			s.Producers = append(s.Producers, randomProducer(r, ProducerID(p+1)))
		}
		states = append(states, s)
	}
	return states
}

func randomProducer(r *rand.Rand, id ProducerID) ProducerState {
	p := ProducerState{ID: id, Name: "producer"[:r.IntN(9)], Epoch: ProducerEpoch(r.Uint64()), Last: r.Uint64(), Lowest: r.Uint64(), Time: randomTime(r)}
	next := r.Uint64N(1 << 40)
	for range max(0, r.IntN(90)-80) * r.IntN(8) {
		b := StoredBatch{First: next, Count: uint32(r.IntN(BatchEntriesMax + 1)), From: LSN(r.Uint64()), Sum: r.Uint32(), Time: randomTime(r)}
		p.Batches = append(p.Batches, b)
		next = b.End() + r.Uint64N(2)
	}
	return p
}

func randomIndex(r *rand.Rand, to uint64) *Index {
	x := &Index{From: r.Uint64N(to), To: to, States: randomStates(r)}
	for id := range r.IntN(4) {
		l := IndexLog{Log: LogID(id/2 + 1), Attachment: Attachment(id + 1)}
		next := LSN(r.Uint64N(1 << 50))
		for n := x.From; n < x.To && len(l.Rows) < 20; n += 1 + r.Uint64N(3) {
			row := Row{N: n, Offset: uint32(r.IntN(ObjectBytesMax)), Length: uint32(r.IntN(ObjectBytesMax)), First: next, Count: r.Uint64N(1000), TimeMin: randomTime(r), TimeMax: randomTime(r)}
			if r.IntN(8) == 0 {
				row = Row{N: n, First: next, Count: 1 << 32, Lost: true}
			}
			l.Rows = append(l.Rows, row)
			next = row.End() + LSN(r.Uint64N(2))
		}
		x.Logs = append(x.Logs, l)
	}
	return x
}

// randomObject makes an object of any kind.
func randomObject(t testing.TB, r *rand.Rand) Frozen {
	switch n := 1 + r.Uint64N(1000); r.IntN(8) {
	case 0:
		return Frozen{Object: Encode(randomHead(r, KindOpening, 0), &Directory{Opening: &Opening{Node: "node-a", Boot: r.Uint64(), Window: 8}})}
	case 1:
		return Frozen{Object: Encode(randomHead(r, KindSeal, n), &Directory{Seal: &Seal{Node: "node-b", Boot: 3}})}
	case 2:
		return Frozen{Object: Encode(randomHead(r, KindGap, n), &Directory{Seal: &Seal{Node: "", Boot: r.Uint64()}})}
	case 3:
		return Frozen{Object: Encode(randomHead(r, KindIndex, n), &Directory{Index: randomIndex(r, n)})}
	case 4:
		return randomFragment(t, r, 50<<10)
	}
	return randomFragment(t, r, 60)
}
