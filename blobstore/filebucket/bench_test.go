package filebucket_test

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wpd-io/wpd/blobstore/filebucket"
)

// BenchmarkCreate measures durable creates of objects in three parts.
// WPD_BENCH_DIR names a directory on the disk to measure; without it, it is the
// one for temporary files.
func BenchmarkCreate(b *testing.B) {
	for _, c := range []struct{ bytes, workers int }{
		{8 << 20, 1}, {8 << 20, 2}, {8 << 20, 4}, {8 << 20, 8}, {1 << 10, 1}, {2 << 10, 1}, {1 << 10, 8},
	} {
		b.Run(fmt.Sprintf("%dKiB/%d", c.bytes>>10, c.workers), func(b *testing.B) {
			benchCreate(b, c.bytes, c.workers)
		})
	}
}

func benchCreate(b *testing.B, bytes, workers int) {
	dir := b.TempDir()
	if d := os.Getenv("WPD_BENCH_DIR"); d != "" {
		var err error
		if dir, err = os.MkdirTemp(d, "bench"); err != nil {
			b.Fatal(err)
		}
		defer os.RemoveAll(dir)
	}
	bucket, err := filebucket.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer bucket.Close()
	body := make([]byte, bytes)
	for i := range body {
		body[i] = byte(i * 31)
	}
	parts := [][]byte{body[:100], body[100 : bytes-100], body[bytes-100:]}
	took := make([]time.Duration, b.N)
	next := make(chan int)
	var wg sync.WaitGroup
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	b.ResetTimer()
	for range workers {
		wg.Go(func() {
			for i := range next {
				start := time.Now()
				if err := bucket.Create(b.Context(), fmt.Sprintf("chains/1/%08d", i), parts); err != nil {
					b.Error(err)
				}
				took[i] = time.Since(start)
			}
		})
	}
	for i := range b.N {
		next <- i
	}
	close(next)
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
