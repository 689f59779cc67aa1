package segment

import (
	"context"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
)

// instant is a store that takes everything at once and keeps nothing.
type instant struct{}

func (instant) Create(context.Context, string, ...[]byte) error { return nil }
func (instant) ReadRange(context.Context, string, int64, int64) ([]byte, int64, error) {
	panic("not read")
}
func (instant) List(context.Context, string, string) iter.Seq2[string, error] { panic("not listed") }

type done struct{ wg sync.WaitGroup }

func (d *done) Settled(error) { d.wg.Done() }

// BenchmarkAppend is what a batch costs on its way through the writer, without
// making or checking it.
func BenchmarkAppend(b *testing.B) {
	for name, size := range map[string]int{"100 B": 100, "1 KiB": 1 << 10, "64 KiB": 64 << 10, "1 MiB": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			w, err := Create(b.Context(), instant{}, testChain, Options{})
			require.NoError(b, err)
			batch := makeBatch(1, 1, 1, 1, 1, size)
			stamp := fragment.Stamp{Log: 1, Attachment: 1, Epoch: testChain.Epoch, From: 1}
			var d done
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := w.Reserve(b.Context(), batch.Len()); err != nil {
					b.Fatal(err)
				}
				batch.Stamp(stamp)
				d.wg.Add(1)
				if _, err := w.Append(1, batch, 0, &d); err != nil {
					b.Fatal(err)
				}
			}
			d.wg.Wait()
			require.NoError(b, w.Close(b.Context()))
		})
	}
}

// BenchmarkAppendManyLogs spreads batches over a thousand logs.
func BenchmarkAppendManyLogs(b *testing.B) {
	w, err := Create(b.Context(), instant{}, testChain, Options{})
	require.NoError(b, err)
	batches := make([]fragment.Batch, 1000)
	for i := range batches {
		batches[i] = makeBatch(fragment.LogID(i+1), 1, 1, 1, 1, 1<<10)
	}
	var d done
	b.SetBytes(1 << 10)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		x := batches[i%1000]
		if err := w.Reserve(b.Context(), x.Len()); err != nil {
			b.Fatal(err)
		}
		d.wg.Add(1)
		if _, err := w.Append(fragment.LogID(i%1000+1), x, 0, &d); err != nil {
			b.Fatal(err)
		}
	}
	d.wg.Wait()
	require.NoError(b, w.Close(b.Context()))
}

// BenchmarkSeal ends a chain of 4,096 fragments on a store without latency.
func BenchmarkSeal(b *testing.B) {
	chain := build(b, 4096, Options{}, threeLogs)
	for b.Loop() {
		s := onMem(chain.mem) // the first seals it, the others find that
		if _, err := Seal(b.Context(), s, chain.request(8)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSlice reads slices of about 8 MiB, cold and from the cache.
func BenchmarkSlice(b *testing.B) {
	s := newStore()
	w := create(b, s, Options{FlushInterval: time.Hour})
	w.sent = time.Now()
	a := newAppender(b, w)
	for range 7 << 10 {
		a.add(1, 1<<10)
	}
	require.NoError(b, w.Close(b.Context()))
	require.EqualValues(b, 1, w.Durable())
	rows := w.segment.rows(stay{1, 1}, 1, 1)
	for name, bytesMax := range map[string]int64{"cold": 0, "cached": 64 << 20} {
		b.Run(name, func(b *testing.B) {
			r := NewReader(s, NewCache(bytesMax))
			b.SetBytes(int64(rows[0].Length))
			for b.Loop() {
				x, err := r.Slice(b.Context(), testChain.Epoch, stayOf(1), rows[0])
				if err != nil || len(x.Batches) != 7<<10 {
					b.Fatal(err, len(x.Batches))
				}
			}
			r.Close()
		})
	}
}
