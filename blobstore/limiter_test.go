package blobstore

import "testing"

// BenchmarkLimiter is what holding requests back costs those that need not be: two
// atomic additions; and with a limit that is never reached.
func BenchmarkLimiter(b *testing.B) {
	for name, cut := range map[string]bool{"off": false, "on": true} {
		b.Run(name, func(b *testing.B) {
			l := newMetrics(nil).limiter("writes")
			if cut {
				l.mu.Lock()
				l.cutLocked(1 << 20)
				l.mu.Unlock()
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					s, err := l.acquire(b.Context())
					if err != nil {
						b.Error(err)
						return
					}
					s.release(verdictNone)
				}
			})
		})
	}
}
