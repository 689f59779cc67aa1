package fsm

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wpd-io/wpd/fragment"
)

// BenchmarkMetadata measures what many logs cost, each with three extents, and
// 10,000 cuts. Of 100,000 logs a snapshot must be written within two seconds,
// without holding up the commands that follow, and a node must need no more
// than 500 MiB (of 10,000: 200 MiB), also while it restores one.
func BenchmarkMetadata(b *testing.B) {
	for _, logs := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("logs=%d", logs), func(b *testing.B) {
			before := heapBytes()
			s := moved(b, logs)
			held := heapBytes() - before
			snapshot := snapshotOf(b, s)
			b.Run("Freeze", func(b *testing.B) {
				for b.Loop() {
					s.Freeze()
				}
			})
			b.Run("WriteTo", func(b *testing.B) {
				for b.Loop() {
					n, err := s.Freeze().WriteTo(io.Discard)
					require.NoError(b, err)
					b.SetBytes(n)
				}
				b.ReportMetric(float64(len(snapshot))/float64(logs), "snapshot-B/log")
				b.ReportMetric(float64(held)/float64(logs), "heap-B/log")
			})
			b.Run("Restore", func(b *testing.B) {
				var peak uint64
				for b.Loop() {
					_, err := Restore(bytes.NewReader(snapshot))
					require.NoError(b, err)
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					peak = max(peak, m.HeapSys-m.HeapReleased)
				}
				b.ReportMetric(float64(peak)/(1<<20), "peak-heap-MiB")
			})
			b.Run("List", func(b *testing.B) {
				for b.Loop() {
					n := 0
					for range s.Logs("") {
						n++
					}
					require.Equal(b, logs, n)
				}
			})
			runtime.KeepAlive(s)
		})
	}
}

// moved returns a state of which each log was handed over twice.
func moved(b *testing.B, logs int) *State {
	y := newYear(b, logs)
	for range 10_000 {
		y.cut(y.nodes[0])
		y.nodes[0].fresh = 0 // none is merged
	}
	for i := range y.tails {
		y.tails[i] += 1_000_000
	}
	for k := range 2 {
		for i := range y.tails {
			y.tails[i] += 1_000_000
			y.move(i, y.nodes[(i+k+1)%3])
		}
	}
	return y.s
}

// BenchmarkAdopt measures what it costs to put a log in, one after another, as a
// recovery does: it must not grow with those that are there.
func BenchmarkAdopt(b *testing.B) {
	for _, logs := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("logs=%d", logs), func(b *testing.B) {
			for b.Loop() {
				s := New()
				n := fragment.LogID(logs)
				mustApply(b, s, NewInitCluster(fragment.ClusterID{15: 7}, 1))
				mustApply(b, s, NewNextIncarnation(1, 1, n, fragment.Attachment(n), []string{"z"}, "z"))
				mustApply(b, s, NewRegisterBoot(Node{Identity: "z", Name: "z", Boot: 1}))
				mustApply(b, s, NewAdoptChain(Chain{Epoch: 1, Node: "y", Boot: 1, Incarnation: 1, Window: 8, Kind: KindObjects, Sealer: "z"}))
				for id := range n {
					mustApply(b, s, NewAdoptLog(Log{
						ID: id + 1, Name: fmt.Sprintf("log/%d", id), Config: LogConfig{EntryBytesMax: 1}, First: 1,
						Extents: []Extent{{Epoch: 1, Attachment: fragment.Attachment(id + 1), First: 1}},
					}))
				}
				require.Equal(b, logs, s.LogCount())
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*logs), "us/log")
		})
	}
}

func BenchmarkApply(b *testing.B) {
	s := populated(b, 10_000)
	before := fragment.LSN(4)
	for b.Loop() {
		before++
		mustApply(b, s, NewTrim(fragment.LogID(1+before%10_000), before, before))
	}
}
