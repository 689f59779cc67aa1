package fragment

import (
	"fmt"
	"testing"
	"time"
)

// reportRatio says how many times what copying the same bytes takes, or their
// checksum, the measured part takes; all in this run.
func reportRatio(b *testing.B, parts ...[]byte) {
	perOp := float64(b.Elapsed()) / float64(b.N)
	all := 0
	for _, p := range parts {
		all += len(p)
	}
	dst := make([]byte, all)
	measure := func(f func()) float64 {
		f()
		best := time.Duration(1 << 62)
		for range 5 {
			start := time.Now()
			f()
			best = min(best, time.Since(start))
		}
		return float64(best)
	}
	copied := measure(func() {
		rest := dst
		for _, p := range parts {
			rest = rest[copy(rest, p):]
		}
	})
	summed := measure(func() { Checksum(parts...) })
	b.ReportMetric(perOp/copied, "copies")
	b.ReportMetric(perOp/summed, "crcs")
}

// lines looks like JSON logs.
func lines(n, size int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		line := fmt.Appendf(nil, `{"time":"2026-11-22T18:%02d:%02d.%06dZ","level":"info","msg":"request served","path":"/api/v1/things/%d","status":200`, i/60%60, i%60, i*7919%1e6, i)
		for len(line) < size-1 {
			line = fmt.Appendf(line, `,"k%d":%d`, len(line)%7, i*31+len(line))
		}
		all[i] = append(line[:size-1], '}')
	}
	return all
}

func build(b testing.TB, c Codec, entries [][]byte, headers ...Header) Batch {
	var builder BatchBuilder
	for _, e := range entries {
		if err := builder.Add(headers, e); err != nil {
			b.Fatal(err)
		}
	}
	return builder.Finish(BatchMeta{Producer: 1, ProducerEpoch: 1, FirstSeq: 1, LowestSeq: 1, Codec: c})
}

// BenchmarkBuild makes a batch of 1,000 entries of 1 KiB.
func BenchmarkBuild(b *testing.B) {
	entries := lines(1000, 1024)
	for _, c := range codecs {
		b.Run(c.String(), func(b *testing.B) {
			b.SetBytes(1000 * 1024)
			b.ReportAllocs()
			for b.Loop() {
				build(b, c, entries)
			}
			reportRatio(b, entries...)
		})
	}
}

func BenchmarkOpenBatch(b *testing.B) {
	entries := lines(1000, 1024)
	for _, c := range codecs {
		b.Run(c.String(), func(b *testing.B) {
			batch := build(b, c, entries)
			b.SetBytes(1000 * 1024)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := OpenBatch(batch.Bytes(), Limits{}); err != nil {
					b.Fatal(err)
				}
			}
			reportRatio(b, entries...)
		})
	}
}

func BenchmarkEntries(b *testing.B) {
	for _, c := range codecs {
		benchmarkEntries(b, c.String(), build(b, c, lines(1000, 1024)))
	}
	benchmarkEntries(b, "headers", build(b, CodecNone, lines(1000, 1024), Header{Key: "type", Value: []byte("line")}, Header{Key: "source", Value: []byte("a")}))
	benchmarkEntries(b, "100B", build(b, CodecNone, lines(1000, 100)))
}

func benchmarkEntries(b *testing.B, name string, batch Batch) {
	b.Run(name, func(b *testing.B) {
		b.SetBytes(int64(batch.RawLen()))
		b.ReportAllocs()
		for b.Loop() {
			entries, err := batch.Entries()
			if err != nil {
				b.Fatal(err)
			}
			for ok := true; ok; _, ok = entries.Next() {
			}
		}
		reportRatio(b, batch.Bytes())
		b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(batch.Count()), "ns/entry")
	})
}

// fill is 8 MiB of batches of so many logs.
func fill(b testing.TB, logs, batchBytes int) *Builder {
	var builder Builder
	payload := lines(batchBytes/1024, 1024)
	if batchBytes < 1024 {
		payload = lines(1, batchBytes)
	}
	for i := 0; builder.Len() < FragmentBytes; i++ {
		batch := build(b, CodecNone, payload)
		batch.Stamp(Stamp{Log: LogID(1 + i%logs), Attachment: 1, Epoch: 0x2a, From: LSN(1 + i/logs*batch.Count()), Time: Micros(i / logs)})
		builder.Add(LogID(1+i%logs), batch)
	}
	return &builder
}

func BenchmarkFragment(b *testing.B) {
	for _, c := range []struct {
		name        string
		logs, batch int
	}{{"1log-1MiB", 1, 1000 << 10}, {"1000logs-8KiB", 1000, 8 << 10}, {"1000logs-200B", 1000, 200}} {
		builder := fill(b, c.logs, c.batch)
		f := freeze(builder, goldenHead(KindFragment, 1), &Directory{})
		all := object(f.Object)
		b.Run("freeze/"+c.name, func(b *testing.B) {
			b.SetBytes(int64(f.Size))
			b.ReportAllocs()
			for b.Loop() {
				freeze(builder, goldenHead(KindFragment, 1), &Directory{})
			}
			reportRatio(b, all)
		})
		b.Run("decode/"+c.name, func(b *testing.B) {
			b.SetBytes(int64(f.Size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(all); err != nil {
					b.Fatal(err)
				}
			}
			reportRatio(b, all)
		})
	}
}

// BenchmarkIndex is about an index object of 1,000 logs and 64 fragments, and
// how much of it a row takes.
func BenchmarkIndex(b *testing.B) {
	x := &Index{From: 1, To: 65}
	for log := range LogID(1000) {
		l := IndexLog{Log: log + 1, Attachment: Attachment(log + 5000)}
		for i := range uint64(64) {
			l.Rows = append(l.Rows, Row{N: 1 + i, Offset: 112 + uint32(log)*8000, Length: 8000, First: LSN(1 + i*8), Count: 8, TimeMin: 1_790_000_000_000_000 + Micros(i*20_000), TimeMax: 1_790_000_000_010_000 + Micros(i*20_000)})
		}
		x.Logs = append(x.Logs, l)
	}
	o := object(Encode(goldenHead(KindIndex, 65), &Directory{Index: x}))
	for name, f := range map[string]func(){
		"encode": func() { Encode(goldenHead(KindIndex, 65), &Directory{Index: x}) },
		"decode": func() {
			if _, err := Decode(o); err != nil {
				b.Fatal(err)
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(o)))
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
			b.ReportMetric(float64(len(o))/64000, "bytes/row")
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/64000, "ns/row")
		})
	}
}

func BenchmarkStamp(b *testing.B) {
	batch := build(b, CodecNone, lines(1, 100))
	b.ReportAllocs()
	for b.Loop() {
		batch.Stamp(Stamp{Log: 1, Attachment: 2, Epoch: 3, From: 4, Time: 5})
	}
}
