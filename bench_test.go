package wpd_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/wpd-io/wpd"
)

// BenchmarkAppendAsync is what the writer costs per entry, its Pending and
// its share of a batch included, with a service that costs nothing and answers
// after 5 ms.
func BenchmarkAppendAsync(b *testing.B) {
	for _, size := range []int{16, 1 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			m := newModel()
			m.cost, m.delay = true, 5*time.Millisecond
			client := m.client()
			defer client.Close()
			log, err := client.Create(b.Context(), "log", wpd.LogConfig{})
			if err != nil {
				b.Fatal(err)
			}
			w, err := log.Writer(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			entry := wpd.Entry{Data: make([]byte, size)}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				w.AppendAsync(b.Context(), entry)
			}
			if err := w.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkAppend is one entry at a time: the way to the service and back.
func BenchmarkAppend(b *testing.B) {
	m := newModel()
	m.cost = true
	client := m.client()
	defer client.Close()
	log, err := client.Create(b.Context(), "log", wpd.LogConfig{})
	if err != nil {
		b.Fatal(err)
	}
	w, err := log.Writer(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 1<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Append(b.Context(), data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReader reads 256 MiB of entries of 1 KiB per loop, over and over.
func BenchmarkReader(b *testing.B) {
	m := newModel()
	client := m.client()
	defer client.Close()
	log, err := client.Create(b.Context(), "log", wpd.LogConfig{})
	if err != nil {
		b.Fatal(err)
	}
	w, err := log.Writer(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	const size, count = 1 << 10, 64 << 10
	for range count {
		w.AppendAsync(b.Context(), wpd.Entry{Data: make([]byte, size)})
	}
	if err := w.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	m.mu.Lock()
	m.logs[1].sent = map[[3]uint64][]byte{}
	m.mu.Unlock()
	b.Run("Next", func(b *testing.B) {
		b.SetBytes(size)
		b.ReportAllocs()
		n := 0
		for n < b.N {
			r, err := log.Reader(b.Context(), wpd.Earliest)
			if err != nil {
				b.Fatal(err)
			}
			for ; n < b.N; n++ {
				if _, err := r.Next(b.Context()); err != nil {
					break
				}
			}
			r.Close()
		}
	})
	b.Run("NextBatch", func(b *testing.B) {
		b.SetBytes(size)
		b.ReportAllocs()
		for n := 0; n < b.N; {
			r, err := log.Reader(b.Context(), wpd.Earliest)
			if err != nil {
				b.Fatal(err)
			}
			for n < b.N {
				entries, err := r.NextBatch(b.Context())
				if err != nil {
					break
				}
				n += len(entries)
			}
			r.Close()
		}
	})
	b.Run("Read", func(b *testing.B) {
		b.SetBytes(size)
		b.ReportAllocs()
		for n := 0; n < b.N; {
			for _, err := range log.Read(b.Context(), wpd.Earliest) {
				if err != nil {
					b.Fatal(err)
				}
				if n++; n >= b.N {
					break
				}
			}
		}
	})
}
